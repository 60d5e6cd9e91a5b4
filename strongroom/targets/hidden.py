"""What deleting leaves behind: old versions of objects, read where they are hidden, or purged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.targets import Target
from strongroom.targets.probing import ProbeCheck, ProbeResult
from strongroom.targets.resilient import Resilient, bare

# -- Old versions: what was covered or deleted on a target that keeps versions, and can still be read there


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


@runtime_checkable
class KeepsVersions(Protocol):
    """What a target can do besides, if its store may keep what was covered or deleted."""

    def hidden(self, prefix: str) -> Sequence[HiddenVersion]:
        """Return the old versions under a prefix, by name; markers of deletions are none.

        Raises :class:`~strongroom.errors.TargetError` if this credential may not list them.
        """
        ...

    def telling(self) -> Iterator[ProbeCheck]:
        """Try what :meth:`hidden` asks for, be there any or not."""
        ...


def may(what: str, attempt: Callable[[], object]) -> ProbeCheck:
    """Try what a report can do without, saying "unknown" in its place."""
    try:
        attempt()
    except StrongroomError as error:
        return ProbeCheck(
            what=what, outcome=ProbeResult.ADVICE, detail=f"{error.message}; reports then say 'unknown'"
        )
    return ProbeCheck(what=what)


def hidden_versions(target: Target, prefix: str) -> Sequence[HiddenVersion]:
    """Return the old versions under a prefix of any target; there are none where none are kept."""
    inner = bare(target)
    if not hasattr(inner, "hidden") or not isinstance(inner, KeepsVersions):  # the look first: as in `locks`
        return ()
    return (
        target.tried(lambda: inner.hidden(prefix)) if isinstance(target, Resilient) else inner.hidden(prefix)
    )


# -- What deleting leaves behind: targets that keep versions hide objects, and may give them back ---


@runtime_checkable
class Hiding(Protocol):
    """A target whose deletes may only hide."""

    def purge(self, prefix: str) -> int | None:
        """Remove for good all that was or is under ``prefix``; return how many objects stay,
        ``None`` if that cannot be told."""
        ...


def purge(target: Target, prefix: str) -> int | None:
    """Remove for good what lies or is hidden under a prefix; return how much stays, if that is known.

    Where deletes hide nothing, nothing stays.
    """
    inner = bare(target)
    return inner.purge(prefix) if isinstance(inner, Hiding) else 0
