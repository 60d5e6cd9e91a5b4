"""What the marks on targets say of a deletion, and whether it may be done by now; they need no record."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from strongroom.container.marks import DELETION, DeletionMark
from strongroom.operations.archive.marks import MarksThere, newest_mark
from strongroom.targets.repaired import Objects


def marks_on(objects: Objects, *, trusted: frozenset[str], backup: str = "") -> MarksThere[DeletionMark]:
    """Return the marks on one target. Raises TargetError if it does not answer."""
    return MarksThere(objects, DELETION, trusted=trusted, folder=backup)


def counting(places: Iterable[MarksThere[DeletionMark]], backup: str) -> DeletionMark | None:
    """Return the mark of a backup that counts over several targets."""
    return newest_mark(places, DELETION, backup)


def may_be_gone(mark: DeletionMark | None, *, now: float) -> bool:
    """Tell whether what is missing of a backup is missing on purpose: it was deleted, or is being deleted."""
    return mark is not None and (mark.state == "deleted" or is_over(mark, now=now))


def is_over(mark: DeletionMark, *, now: float) -> bool:
    """Tell whether a backup is marked and its time of grace is over."""
    return mark.state == "marked" and datetime.fromisoformat(mark.after).timestamp() <= now
