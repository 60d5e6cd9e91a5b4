"""Which holds stand, by the marks on targets and by a record, if there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from strongroom.container.marks import HOLD, HoldMark
from strongroom.operations.archive.marks import last_word


def standing_holds(
    marks: Mapping[str, HoldMark], recorded: Mapping[str, HoldMark], *, now: float
) -> tuple[HoldMark, ...]:
    """Return the holds that stand; both are by folder."""
    return tuple(mark for mark in merged(marks, recorded) if mark.state == "held" and not _is_over(mark, now))


def merged(marks: Mapping[str, HoldMark], recorded: Mapping[str, HoldMark]) -> Iterator[HoldMark]:
    """Yield what counts of each subject."""
    for folder in sorted({*marks, *recorded}):
        if (mark := last_word(HOLD, marks.get(folder), recorded.get(folder))) is not None:
            yield mark


def _is_over(mark: HoldMark, now: float) -> bool:
    try:
        return bool(mark.until) and datetime.fromisoformat(mark.until).timestamp() <= now
    except ValueError:  # of a row that somebody edited
        return False
