"""Where live secrets are: one base class, one conformance suite for all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Protocol

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.model import ListedSecret, Secret, SecretVersion


class Listable(Protocol):
    """What can be listed: a source, or a part of one."""

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield its secrets, as :meth:`Source.list` does."""
        ...


class CredentialRights(Protocol):
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


class SecretChange(Struct, frozen=True, kw_only=True):
    """A write with check-and-set: ``expected`` is the current version number that the
    writer saw, or ``None`` if there was no such secret."""

    secret: Secret
    expected: int | None


Refuse = Callable[[str, StrongroomError], None]
"""Is told of a secret that was not written, by name, and why. Threads may call it."""


class SealedRow(Struct, frozen=True, array_like=True, gc=False):
    """A secret that is new to a destination, as its table will have it: all that holds a value is sealed.

    ``head`` is its current version's number. ``older`` are the numbers of the versions before, each with its
    seal.
    """

    name: str
    head: int
    size: int
    sealed: bytes
    older: tuple[tuple[int, bytes], ...] = ()


class Foreseen(Struct, frozen=True, kw_only=True):
    """What a destination says of a write beforehand, in words; each is empty where nothing is to be said."""

    refusal: str = ""
    loss: str = ""


class Source:
    """Something that lists and reads secrets.

    A kind answers what is true of it; what it leaves out is answered by "nothing". Contract, held by
    ``strongroom/plugins/conformance/sources.py``:

    * ``name`` identifies the source in digests, manifests and messages to people. ``kind`` and ``address``
      say what it is and where, whatever a configuration calls it; empty: a plan knows it by its name alone;
    * clients and file handles are opened on use, so an instance survives a fork;
    * errors are :class:`~strongroom.errors.SourceError`; ``transient`` says whether
      trying again can help;
    * no method writes a value anywhere.
    """

    name: str
    kind: ClassVar[str] = ""

    @property
    def address(self) -> str:
        return ""

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield every secret once, in any order, without holding them all in memory.

        ``size`` is about how many bytes the values and metadata have: work is divided by it. ``with_tags``
        asks for ``tags`` too, which some sources must read for; unasked, they are ``None``.
        A name that the source holds twice is yielded twice; planning refuses it.
        """
        raise NotImplementedError

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield, in the given order, each secret with all its versions.

        ``None`` means it vanished since it was listed. Versions ascend by ``number``, and the last is the
        current one; what knows no versions gives one with the number 1. ``media`` says what a value's
        bytes are: text if left out; what is no UTF-8 is ``Media.BINARY``. Raises
        :class:`~strongroom.sources.errors.SourceChanged` if a locator no longer fits.
        """
        raise NotImplementedError

    def parts(self, most: int) -> Sequence[Listable]:
        """Return at most so many parts, which several processes list at once; fewer where more gain nothing.

        Each secret is in one of them, as :meth:`list` would yield it. Raises what that raises.
        """
        return (self,)

    def not_contained(self) -> tuple[str, ...]:
        """Return what of the source no backup of it contains: one line each, in words, no value.

        Who restores a server from a backup of its secrets finds out on the worst day that its certificates
        are not among them; so each manifest says it beforehand. May ask the server. Raises
        :class:`~strongroom.errors.SourceError`.
        """
        return ()

    def unfinished(self) -> int:
        """Count what an interrupted restore left a mark on: a backup has these secrets as they are, half."""
        return 0

    def how_to_tag(self, key: str, value: str) -> str:
        """Say how a person tags a secret there, in one sentence; empty if there is no way of its own."""
        return ""

    def home(self) -> str:
        """Return its server's own name for itself, by whatever address; empty if it does not say."""
        return ""

    def rights(self) -> Iterable[CredentialRights] | None:
        """Return what its credential lacks to read, and may do and should not; ``None`` if nobody tells."""
        return None

    def write_rights(
        self, secrets: Iterable[Secret] | None = None, *, removing: bool = False
    ) -> Iterable[CredentialRights] | None:
        """Return what its credential lacks to write: for each of ``secrets``, in their order, or for whatever
        may come. ``removing`` asks for what it takes to remove them instead. Asking changes nothing.

        ``None`` if nobody tells. May give fewer than ``secrets``: none for what it cannot tell.
        """
        return None


class Destination(Source):
    """A source that can also be restored into.

    ``written_at_once`` is how many secrets are written between two entries of the account by which an
    interrupted restore goes on. ``rotates``: its service gives secrets new values by a function of its own.
    """

    written_at_once: ClassVar[int] = 1000
    rotates: ClassVar[bool] = False

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        """Return the current version number of each of ``names`` that exists."""
        raise NotImplementedError

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        """Write each secret, all versions and metadata; return how many were written.

        Commits in batches, each whole or not at all. Raises
        :class:`~strongroom.system.errors.Conflict` when ``expected`` is not what is there;
        earlier batches stay. An existing secret keeps its history: the restored versions
        become new versions on top, so that nothing is overwritten without a way back.

        Args:
            refuse: is told of each secret that cannot be written, and the others are written. Without
                it the first such secret is raised. What concerns all of them is always raised.
        """
        raise NotImplementedError

    def read_written(self, names: Sequence[str]) -> Iterator[Secret | None]:
        """Yield, in the given order, what is there of secrets that this instance just wrote, with all their
        versions. What the answers to the writing told of them need not be asked again; values are read."""
        return self.read([ListedSecret(name, 0) for name in names])

    # -- what is new, sealed by any process and written by one of them: a destination seals, or it does not

    seals: ClassVar[bool] = False
    """Whether it keeps secrets sealed under a key of its own. Nothing rests on anything there, nothing is
    settled after a write, and no write loses anything."""

    def seal(self, secrets: Iterable[Secret]) -> Iterator[tuple[SealedRow, Secret]]:
        """Seal secrets as :meth:`write` would that has not found them, and yield each with what it opens to.

        Writes nothing, and refuses what :meth:`write` refuses.
        """
        raise NotImplementedError

    def write_sealed(self, rows: Sequence[SealedRow]) -> None:
        """Write all of these rows, durably, or none. Raises Conflict: a secret of such a name is there."""
        raise NotImplementedError

    def unlike(self, rows: Sequence[SealedRow]) -> dict[str, int | None]:
        """Read rows back; return, by name, the version of what is there in place of one, byte for byte."""
        raise NotImplementedError

    def delete(self, names: Iterable[str]) -> int:
        """Remove the secrets of these names; return how many there were."""
        raise NotImplementedError

    def losses(self) -> tuple[str, ...]:
        """Return what this instance's writes could not reproduce: one line each, no value.

        What no write to this kind of destination keeps, and :meth:`read` does not return either,
        is no loss; what was asked for and is not there as it was, is one.
        """
        return ()

    def layers(self) -> tuple[str, ...]:
        """Return the types of secrets that others rest on, the lowest first.

        A restore writes all of one type, then all of the next, then everything else.
        """
        return ()

    def kept(self, secret: Secret) -> Secret:
        """Return what of a secret can be kept here, in one spelling.

        What was to be written and what is read back are compared in this form: equal, or
        the write went wrong. What the form leaves out, :meth:`losses` names.
        """
        return secret

    def foresee(self, secrets: Sequence[Secret], *, made: Collection[str]) -> Iterable[Foreseen]:
        """Return, for each of ``secrets`` in their order, what would be refused and what could not be
        reproduced. Changes nothing.

        Args:
            made: names of what others rest on that will have been written before.
        """
        return (Foreseen() for _ in secrets)

    def settle(self, secrets: Sequence[Secret]) -> None:
        """Finish what may only come after secrets were read back and found equal.

        Is told of those that were equal before, too: a restore that died before this step is
        finished by the next one. What could not be done is among :meth:`losses`.
        """

    def is_unfinished(self, wanted: Secret, found: Secret, *, tried: bool) -> bool:
        """Return whether ``found`` is what an interrupted restore of just ``wanted`` left half-written.

        Writing it again finishes it; nobody else's value is replaced by that.

        Args:
            tried: whether a restore on record was writing it, which had found nothing there before.
        """
        return False

    def delete_unchanged(self, heads: Mapping[str, int]) -> Sequence[str]:
        """Remove the secrets whose current version is still this one; return their names.

        Servers remove without check-and-set, so the last look at them comes just before.
        """
        now = self.heads([*heads])
        same = [name for name, head in heads.items() if now.get(name) == head]
        self.delete(same)
        return same

    def stays(self, secrets: Sequence[Secret], *, without: Collection[str]) -> Mapping[str, str]:
        """Return, by name, why some of ``secrets`` would not be removed, whoever made them: others may rest
        on them. Changes nothing.

        Args:
            without: names of secrets that are taken to be gone by then.
        """
        return {}

    def least_seconds(self, *, secrets: int, versions: int) -> float:
        """Return how long a restore of so many takes at the least, by what the service lets through; zero if
        nothing but the machines sets a pace. Asks nobody."""
        return 0.0

    # -- a new version beside the current one: each is given the secret as it was read, which is the condition

    def stage(self, secret: Secret, version: SecretVersion) -> bool:
        """Put a version beside the current one; say whether there is such a place. Raises Conflict if there
        is one already."""
        return False

    def staged(self, secret: Secret) -> SecretVersion | None:
        """Return the version beside the current one, if there is one. Asks nobody."""
        return None

    def promote(self, secret: Secret) -> None:
        """Make the version beside the current one current. Raises Conflict if another one is by now."""
        raise NotImplementedError

    def unstage(self, secret: Secret) -> None:
        """Give up the version beside the current one."""
        raise NotImplementedError

    def rotate(self, name: str, *, token: str, timeout: float) -> None:
        """Have the service rotate a secret, and wait for the end; with a token that was used before only the
        latter: nothing is done twice for one.

        Raises:
            SourceError: it cannot be rotated, or the rotation did not end in time.
        """
        raise NotImplementedError


def is_setting(kind: str, source: Source) -> bool:
    """Tell whether a type of secret is what others rest on there, as a Vault's mounts and policies: settings
    of the server, which hold no value that anybody could change."""
    return isinstance(source, Destination) and kind in source.layers()


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
