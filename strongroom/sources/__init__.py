"""Where live secrets are: one small Protocol, one conformance suite for all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.model import Entry, Secret, Version


class Source(Protocol):
    """Something that lists and reads secrets.

    Contract, held by ``tests/sources/conformance.py``:

    * ``name`` identifies the source in digests, manifests and messages to people;
    * clients and file handles are opened on use, so an instance survives a fork;
    * errors are :class:`~strongroom.errors.SourceError`; ``transient`` says whether
      trying again can help;
    * no method writes a value anywhere.
    """

    @property
    def name(self) -> str: ...

    def list(self, *, with_tags: bool = False) -> Iterator[Entry]:
        """Yield every secret once, in any order, without holding them all in memory.

        ``with_tags`` asks for ``Entry.tags`` too, which some sources must read for.
        A name that the source holds twice is yielded twice; planning refuses it.
        """
        ...

    def read(self, entries: Sequence[Entry]) -> Iterator[Secret | None]:
        """Yield, in the given order, each secret with all its versions.

        ``None`` means it vanished since it was listed. Raises
        :class:`~strongroom.sources.errors.SourceChanged` if a locator no longer fits.
        """
        ...


class Listable(Protocol):
    """What can be listed: a source, or a part of one."""

    def list(self, *, with_tags: bool = False) -> Iterator[Entry]:
        """Yield its secrets, as :meth:`Source.list` does."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """A source that several processes can list at once."""

    def parts(self, most: int) -> Sequence[Listable]:
        """Return at most so many parts, fewer where more gain nothing.

        Each secret is in one of them, as :meth:`Source.list` would yield it. Raises what that raises.
        """
        ...


@runtime_checkable
class Partial(Protocol):
    """A source that stands for something larger than what it can give.

    Who restores a server from a backup of its secrets finds out on the worst day that its
    certificates are not among them; so each backup's manifest says it beforehand.
    """

    def not_contained(self) -> tuple[str, ...]:
        """Return what of the source no backup of it contains: one line each, in words, no value.

        May ask the server. Raises :class:`~strongroom.errors.SourceError`.
        """
        ...


@runtime_checkable
class Layered(Protocol):
    """A destination in which some secrets have to be there before others can be written."""

    def layers(self) -> tuple[str, ...]:
        """Return the types of secrets that others rest on, the lowest first.

        A restore writes all of one type, then all of the next, then everything else.
        """
        ...


@runtime_checkable
class Tagging(Protocol):
    """A source that has its own way of tagging a secret."""

    def how_to_tag(self, key: str, value: str) -> str:
        """Say how a person tags a secret there, in one sentence."""
        ...


def is_setting(kind: str, source: object) -> bool:
    """Tell whether a type of secret is what others rest on there, as a Vault's mounts and policies: settings
    of the server, which hold no value that anybody could change."""
    return isinstance(source, Layered) and kind in source.layers()


@runtime_checkable
class Lossy(Protocol):
    """A destination that cannot keep all that may be known of a secret."""

    def kept(self, secret: Secret) -> Secret:
        """Return what of a secret can be kept here, in one spelling.

        What was to be written and what is read back are compared in this form: equal, or
        the write went wrong. What the form leaves out, :meth:`Destination.losses` names.
        """
        ...


@runtime_checkable
class Settling(Protocol):
    """A destination that has something left to do for secrets that are back."""

    def settle(self, secrets: Sequence[Secret]) -> None:
        """Finish what may only come after secrets were read back and found equal.

        Is told of those that were equal before, too: a restore that died before this step is
        finished by the next one. What could not be done is among :meth:`Destination.losses`.
        """
        ...


@runtime_checkable
class Resuming(Protocol):
    """A destination that knows what an interrupted restore left half-written."""

    def is_unfinished(self, wanted: Secret, found: Secret, *, tried: bool) -> bool:
        """Return whether ``found`` is what an interrupted restore of just ``wanted`` left half-written.

        Writing it again finishes it; nobody else's value is replaced by that.

        Args:
            tried: whether a restore on record was writing it, which had found nothing there before.
        """
        ...


@runtime_checkable
class HalfRestored(Protocol):
    """A source in which an interrupted restore leaves a mark on what it did not finish."""

    def unfinished(self) -> int:
        """Count such secrets. A backup has them as they are: half."""
        ...


@runtime_checkable
class TellsWriteRights(Protocol):
    """A destination that asks its server whether its credential may write. Asking changes nothing."""

    def write_rights(
        self, secrets: Iterable[Secret] | None = None, *, removing: bool = False
    ) -> Iterable[Right]:
        """Return what is missing: for each of ``secrets``, in their order, or for whatever may come.
        ``removing`` asks for what it takes to remove them instead.

        May give fewer than ``secrets``: none for what it cannot tell.
        """
        ...


@runtime_checkable
class RemovesUnchanged(Protocol):
    """A destination that removes a secret only as long as nobody writes to it."""

    def delete_unchanged(self, heads: Mapping[str, int]) -> Sequence[str]:
        """Remove the secrets whose current version is still this one; return their names."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A destination that never removes some of what others may rest on, whoever made it."""

    def stays(self, secrets: Sequence[Secret], *, without: Collection[str]) -> Mapping[str, str]:
        """Return, by name, why some of ``secrets`` would not be removed. Changes nothing.

        Args:
            without: names of secrets that are taken to be gone by then.
        """
        ...


@runtime_checkable
class Staging(Protocol):
    """A destination that keeps a new version beside the current one until it is made current.

    Each method is given the secret as it was read: what was current or beside it then is the condition.
    """

    def staged(self, secret: Secret) -> Version | None:
        """Return the version beside the current one, if there is one. Asks nobody."""
        ...

    def stage(self, secret: Secret, version: Version) -> None:
        """Put a version beside the current one. Raises Conflict if there is one already."""
        ...

    def promote(self, secret: Secret) -> None:
        """Make the version beside the current one current. Raises Conflict if another one is by now."""
        ...

    def unstage(self, secret: Secret) -> None:
        """Give up the version beside the current one."""
        ...


@runtime_checkable
class RotatesItself(Protocol):
    """A destination whose service gives secrets new values by a function that each secret has."""

    def rotate(self, name: str, *, token: str, timeout: float) -> None:
        """Have a secret rotated, and wait for the end; with a token that was used before only the latter.

        Args:
            token: a UUID that stands for this rotation. The service does nothing twice for one.

        Raises:
            SourceError: it cannot be rotated, or the rotation did not end in time.
        """
        ...


class Foreseen(Struct, frozen=True, kw_only=True):
    """What a destination says of a write beforehand, in words; each is empty where nothing is to be said."""

    refusal: str = ""
    loss: str = ""


@runtime_checkable
class Foresees(Protocol):
    """A destination that says beforehand what it would refuse, and what it could not reproduce."""

    def foresee(self, secrets: Sequence[Secret], *, made: Collection[str]) -> Iterable[Foreseen]:
        """Return it for each of ``secrets``, in their order. Changes nothing.

        Args:
            made: names of what others rest on that will have been written before.
        """
        ...


@runtime_checkable
class Addressed(Protocol):
    """A source that says what it is and where, whatever a configuration calls it. Asks nobody."""

    @property
    def kind(self) -> str: ...

    @property
    def address(self) -> str: ...


@runtime_checkable
class Rationed(Protocol):
    """A destination that lets only so many writes through."""

    def least_seconds(self, *, secrets: int, versions: int) -> float:
        """Return how long a restore of so many takes at the least. Asks nobody."""
        ...


class Change(Struct, frozen=True, kw_only=True):
    """A write with check-and-set: ``expected`` is the current version number that the
    writer saw, or ``None`` if there was no such secret."""

    secret: Secret
    expected: int | None


Refuse = Callable[[str, StrongroomError], None]
"""Is told of a secret that was not written, by name, and why. Threads may call it."""


class Right(Protocol):
    """What a credential lacks at a path, and what it may do there and should not."""

    @property
    def secret(self) -> str:
        """The name of the secret that it is needed for; empty where it is needed for all."""
        ...

    @property
    def path(self) -> str: ...

    @property
    def missing(self) -> Sequence[str]: ...

    @property
    def excess(self) -> Sequence[str]: ...

    @property
    def beside(self) -> bool:
        """Whether it is for what lies beside the secrets: their values come back without it."""
        ...


class Destination(Source, Protocol):
    """A source that can also be restored into."""

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        """Return the current version number of each of ``names`` that exists."""
        ...

    def write(self, changes: Iterable[Change], *, refuse: Refuse | None = None) -> int:
        """Write each secret, all versions and metadata; return how many were written.

        Commits in batches, each whole or not at all. Raises
        :class:`~strongroom.system.errors.Conflict` when ``expected`` is not what is there;
        earlier batches stay. An existing secret keeps its history: the restored versions
        become new versions on top, so that nothing is overwritten without a way back.

        Args:
            refuse: is told of each secret that cannot be written, and the others are written. Without
                it the first such secret is raised. What concerns all of them is always raised.
        """
        ...

    def delete(self, names: Iterable[str]) -> int:
        """Remove the secrets of these names; return how many there were."""
        ...

    def losses(self) -> tuple[str, ...]:
        """Return what this instance's writes could not reproduce: one line each, no value.

        What no write to this kind of destination keeps, and :meth:`read` does not return either,
        is no loss; what was asked for and is not there as it was, is one.
        """
        ...


class ScratchPlace(Protocol):
    """Where drills restore into: each into a store of its own, which goes with it.

    Nothing that was there before is ever used, changed or removed. A store is known by the run that made it.
    """

    def make(self, run: str) -> Destination:
        """Make an empty store; one that this run left is removed first. Raises SourceError."""
        ...

    def open(self, run: str) -> Destination:
        """Return the store that was made for a run."""
        ...

    def remove(self, run: str) -> None:
        """Remove a run's store with all that it holds; one that is not there is fine. Raises SourceError."""
        ...

    def left(self) -> Sequence[str]:
        """Return the runs whose stores are there. Raises SourceError."""
        ...
