"""Where backups lie: one small Protocol, one conformance suite for all.

Objects are immutable: they are put once, only if absent, and never changed. Names are
``/``-separated, of ``[A-Za-z0-9._-]`` segments that do not start with a dot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Protocol, TypeGuard, runtime_checkable

from strongroom.model import ObjectInfo

__all__ = ["Locking", "ObjectInfo", "Target", "locks"]


class Target(Protocol):
    """A place that keeps objects.

    Contract, held by ``tests/targets/conformance.py``:

    * clients are made on use, so an instance survives a fork;
    * errors are :class:`~strongroom.errors.TargetError`; ``transient`` says whether
      trying again can help. A missing object is
      :class:`~strongroom.container.errors.MissingPiece`;
    * a process that dies during :meth:`put` leaves nothing visible under ``name``.
    """

    @property
    def name(self) -> str: ...

    @property
    def region(self) -> str: ...

    @property
    def provider(self) -> str: ...

    @property
    def address(self) -> str:
        """The canonical place (path, bucket…): a run freezes it, so that an edited row
        or configuration cannot redirect it unnoticed."""
        ...

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        """Store an object if, and only if, there is none of that name.

        Streams ``chunks``; refuses (:class:`~strongroom.container.errors.VerificationFailed`)
        content of another size or SHA-256, leaving nothing. Durable on return. Returns
        ``True`` if it created the object, ``False`` if one was there already: the caller
        reads back either way, for an earlier attempt's reply may have been lost.
        """
        ...

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range of an object. Ends early only at the object's end."""
        ...

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield complete objects whose name starts with ``prefix``, ascending by name."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object; a missing one is fine."""
        ...

    def abort_incomplete(self, prefix: str) -> int:
        """Remove what interrupted puts under ``prefix`` left behind; return how many."""
        ...


@runtime_checkable
class Roomy(Protocol):
    """What a place can do besides, if it knows how much room it has."""

    def require_room(self, size: int) -> None:
        """Raise :class:`~strongroom.system.errors.TargetFull` if so many bytes do not fit now."""
        ...


@runtime_checkable
class Locking(Protocol):
    """What a target can do besides, if its store holds objects under a retention lock.

    A put locks for a short while, a commit extends. Until its lock ends an object can be
    neither removed nor replaced: :meth:`Target.delete` raises
    :class:`~strongroom.targets.errors.TargetLocked`, and a damaged one is repaired under another
    name (:mod:`strongroom.targets.repaired`).
    """

    @property
    def locks(self) -> bool:
        """Whether this target is set up to lock what is put on it."""
        ...

    def extend_lock(self, name: str, until: datetime) -> datetime:
        """Lock an object until at least ``until``, and return when its lock now ends.

        Never shortens. That end is earlier than ``until`` where the target's own maximum
        is; it is later where the object was locked for longer already. Raises
        :class:`~strongroom.container.errors.MissingPiece`; TargetError if it is not locked then.
        """
        ...

    def locked_until(self, name: str) -> datetime | None:
        """Return when an object's lock ends (UTC), or ``None`` if nothing holds it."""
        ...


def locks(target: object) -> TypeGuard[Locking]:
    """Tell whether a target locks what is put on it; a look first, since asking a protocol takes long."""
    return hasattr(target, "locks") and isinstance(target, Locking) and target.locks
