"""Where backups lie: one base class, one conformance suite for all.

Objects are immutable: they are put once, only if absent, and never changed. Names are
``/``-separated, of ``[A-Za-z0-9._-]`` segments that do not start with a dot.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from strongroom.errors import ConfigError, TargetError
from strongroom.model import ObjectInfo

# -- The names of objects: one strict grammar for every target ----------------------------------
#
# A name can come out of a manifest or a row that somebody edited, so nothing but this
# grammar reaches a file system or a request: no ``..``, no absolute path, no hidden file,
# no control character, and nothing that two stores would spell differently.


SEGMENT_LIMIT = 200  # leaves room in a 255-byte file name for a provisional one's ends
NAME_LIMIT = 900  # S3 takes 1,024 bytes, and a target may put its own prefix in front

_ONE = rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{SEGMENT_LIMIT - 1}}}"
_SEGMENT = re.compile(_ONE)
_NAME = re.compile(f"{_ONE}(?:/{_ONE})*")


def is_segment(text: str) -> bool:
    """Say whether ``text`` may stand between two slashes of a name."""
    return _SEGMENT.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Say whether ``text`` is a whole object name."""
    return len(text) <= NAME_LIMIT and _NAME.fullmatch(text) is not None


def canonical_prefix(prefix: str) -> str:
    """Return a prefix that ends in a slash, or nothing. Raises ConfigError if no name may stand behind it."""
    bare = prefix.strip("/")
    if bare and not is_name(bare):
        raise ConfigError(f"{prefix[:100]!r} cannot stand before the names of objects", hint=_HINT)
    return f"{bare}/" if bare else ""


def check_name(name: str) -> str:
    """Return ``name``; raise :class:`~strongroom.errors.TargetError` if it is none."""
    if not is_name(name):
        raise TargetError(f"{name[:100]!r} is not the name of an object", hint=_HINT)
    return name


def check_prefix(prefix: str) -> str:
    """Return ``prefix``; raise unless some object's name could start with it."""
    if prefix and not is_name(prefix) and not is_name(prefix + "x"):
        raise TargetError(f"{prefix[:100]!r} cannot begin the name of an object", hint=_HINT)
    return prefix


def check_range(offset: int, length: int | None) -> None:
    """Refuse a range that points before the object or has a negative length."""
    if offset < 0 or (length is not None and length < 0):
        raise TargetError(
            f"there is no range at {offset} of length {length}", hint="Do not trust what gave this range."
        )


_HINT = "Names are '/'-separated, of A-Z a-z 0-9 . _ - with no segment starting with a dot."


class TargetIdentity(Struct, frozen=True, kw_only=True):
    """What a target is called, where it lies, who runs it, and its canonical address."""

    name: str
    region: str
    provider: str
    address: str

    def __str__(self) -> str:
        return f"target '{self.name}' ({self.address})"


# -- What a target answers, and what it is -------------------------------------------------------


class HiddenVersion(Struct, frozen=True, kw_only=True):
    """A version of an object that :meth:`Target.read` does not give any more.

    ``locked_until`` is when its own lock ends, ``expires`` when a rule of the store removes it, its
    lock counted in (UTC); ``None`` if there is no lock, no rule. What this credential may not look
    at is not ``lock_known``, not ``rule_known``.
    """

    name: str
    size: int
    locked_until: datetime | None = None
    expires: datetime | None = None
    lock_known: bool = True
    rule_known: bool = True


class TakesObjects(Protocol):
    """What objects are put into: a target, or a single-file backup that is being written."""

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool: ...


def put_whole(place: TakesObjects, name: str, content: bytes | memoryview) -> bool:
    """Put an object of which all is at hand; see :meth:`Target.put`."""
    return place.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


class ProbeResult(StrEnum):
    """The result of one check."""

    FINE = "fine"
    MISSING = "missing"
    """What has to work does not."""
    EXCESS = "too many"
    """What has to be refused was not."""
    ADVICE = "advice"
    """Nothing is wrong, and it could be better."""
    NOT_SHOWN = "not shown"
    """It could not be found out here."""


class ProbeCheck(Struct, frozen=True, kw_only=True):
    """One thing that was tried or looked up, and its result. ``error`` is the class of what it failed of."""

    what: str
    outcome: ProbeResult = ProbeResult.FINE
    detail: str = ""
    error: str = ""

    @property
    def failed(self) -> bool:
        return self.outcome in {ProbeResult.MISSING, ProbeResult.EXCESS}


class Target:
    """A place that keeps objects.

    A kind of target answers what its store can do; what it leaves out is answered by "nothing". It gives its
    ``place`` (:class:`TargetIdentity`) to ``__init__``; as text that is what messages call it: "target 'eu'
    (s3://acme-eu)". Contract,
    held by ``strongroom/plugins/conformance/targets.py``:

    * clients are made on use, so an instance survives a fork;
    * errors are :class:`~strongroom.errors.TargetError`; ``transient`` says whether
      trying again can help. A missing object is
      :class:`~strongroom.container.errors.MissingPiece`;
    * a process that dies during :meth:`put` leaves nothing visible under ``name``.
    """

    def __init__(self, place: TargetIdentity) -> None:
        self.place = place

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def region(self) -> str:
        return self.place.region

    @property
    def provider(self) -> str:
        return self.place.provider

    @property
    def address(self) -> str:
        """The canonical place (path, bucket…): a run freezes it, so that an edited row
        or configuration cannot redirect it unnoticed."""
        return self.place.address

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        """Store an object if, and only if, there is none of that name.

        Streams ``chunks``; refuses (:class:`~strongroom.container.errors.VerificationFailed`)
        content of another size or SHA-256, leaving nothing. Durable on return. Returns
        ``True`` if it created the object, ``False`` if one was there already: the caller
        reads back either way, for an earlier attempt's reply may have been lost.
        """
        raise NotImplementedError

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range of an object. Ends early only at the object's end.

        The call itself refuses what cannot be a name or a range, before anything is streamed; :meth:`list`
        does so, too. A kind gives :meth:`_read` and :meth:`_list`, or its own of these two.
        """
        check_name(name)
        check_range(offset, length)
        return self._read(name, offset, length)

    def _read(self, name: str, offset: int, length: int | None) -> Iterator[bytes]:
        raise NotImplementedError

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``."""
        raise NotImplementedError

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield complete objects whose name starts with ``prefix``, ascending by name."""
        check_prefix(prefix)
        return self._list(prefix)

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        raise NotImplementedError

    def delete(self, name: str) -> None:
        """Remove an object; a missing one is fine."""
        raise NotImplementedError

    def abort_incomplete(self, prefix: str) -> int:
        """Remove what interrupted puts under ``prefix`` left behind; return how many.

        A put that still runs, here or in another process, is left alone; or it fails, and leaves nothing.
        """
        raise NotImplementedError

    def require_room(self, size: int) -> None:
        """Raise :class:`~strongroom.system.errors.TargetFull` if so many bytes do not fit now."""

    def home(self) -> str:
        """Return its server's own name for itself, by whatever address; empty if it does not say."""
        return ""

    def time(self) -> float | None:
        """Return the time by its server's own clock, in seconds since the epoch; ``None`` if it has none.

        This host's clock may be wrong. Raises TargetError if the server does not say.
        """
        return None

    def reader_log(self) -> str | None:
        """Return where its server writes down who reads there: that alone knows of strangers with the files.

        Empty if the server keeps no log; ``None`` if it does not tell. Raises TargetError if this credential
        may not ask.
        """
        return None

    # -- retention locks: a put locks for a short while, a commit extends. Until its lock ends an object can
    # be neither removed nor replaced: `delete` raises TargetLocked, and a damaged one is repaired under
    # another name (`repaired`).

    @property
    def locks(self) -> bool:
        """Whether this target is set up to lock what is put on it."""
        return False

    def extend_lock(self, name: str, until: datetime) -> datetime:
        """Lock an object until at least ``until``, and return when its lock now ends.

        Never shortens. That end is earlier than ``until`` where the target's own maximum
        is; it is later where the object was locked for longer already. Raises
        :class:`~strongroom.container.errors.MissingPiece`; TargetError if it is not locked then.
        """
        raise NotImplementedError

    def locked_until(self, name: str) -> datetime | None:
        """Return when an object's lock ends (UTC), or ``None`` if nothing holds it."""
        return None

    # -- what deleting leaves behind, where the store keeps versions

    def hidden(self, prefix: str) -> Sequence[HiddenVersion]:
        """Return the old versions under a prefix, by name; markers of deletions are none.

        Raises :class:`~strongroom.errors.TargetError` if this credential may not list them.
        """
        return ()

    def telling(self) -> Iterator[ProbeCheck]:
        """Try what :meth:`hidden` asks for, be there any or not."""
        return iter(())

    def purge(self, prefix: str) -> int | None:
        """Remove for good all that was or is under ``prefix``; return how many objects stay,
        ``None`` if that cannot be told. Where deletes hide nothing, nothing stays."""
        return 0

    # -- what a probe asks. A refusal is shown only by asking the server for what it has to refuse. That is
    # done to nothing but an object which the probe itself has just put, `name`, so that a server which does
    # not refuse loses nothing of anybody's; afterwards it may be gone.

    def refusals(self, name: str) -> Iterator[ProbeCheck]:
        """Ask for what no client may be given: writing over an object, removing a locked one."""
        return iter(())

    def excess(self, name: str) -> Iterator[ProbeCheck]:
        """Try what this target's credential has no need of."""
        return iter(())

    def settings(self) -> Iterator[ProbeCheck]:
        """Look at how the store is set up, as far as the credential may."""
        return iter(())
