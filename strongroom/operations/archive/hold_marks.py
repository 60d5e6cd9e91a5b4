"""Which holds stand, by the marks on targets and by a record, if there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from strongroom.container.marks import HoldMark


def standing_holds(
    marks: Mapping[str, HoldMark], recorded: Mapping[str, HoldMark], *, now: float
) -> tuple[HoldMark, ...]:
    """Return the holds that stand; both are by folder."""
    return tuple(mark for mark in merged(marks, recorded) if mark.state == "held" and not _is_over(mark, now))


def merged(marks: Mapping[str, HoldMark], recorded: Mapping[str, HoldMark]) -> Iterator[HoldMark]:
    """Yield what counts of each subject. A record adds holds to those on the targets, and lifts none of them.

    A mark that releases lifts a recorded hold only if it is no older: that hold may not have reached any
    target.
    """
    for folder in sorted({*marks, *recorded}):
        mark, record = marks.get(folder), recorded.get(folder)
        if mark is not None and (mark.state == "held" or record is None or record.at <= mark.at):
            yield mark
        elif record is not None:
            yield record


def _is_over(mark: HoldMark, now: float) -> bool:
    try:
        return bool(mark.until) and datetime.fromisoformat(mark.until).timestamp() <= now
    except ValueError:  # of a row that somebody edited
        return False
