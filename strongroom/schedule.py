"""When something was due: the times of cron expressions (five fields), as slots and alarms read them.

A time that is skipped when the clock is put forward comes right after the gap. One that comes twice when it
is put back counts once, the first time; what is due every hour, or more often, counts both times.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

CATCH_UP = 366 * 86_400.0
"""How far back an overdue slot is looked for, in seconds."""
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def last_slot(schedule: str, now: float, time_zone: str = "UTC") -> float | None:
    """Return the newest time (epoch seconds) not after ``now`` that a cron expression names."""
    moment = datetime.fromtimestamp(now, zone(time_zone))
    put_back = max(_offset(moment - DAY) - _offset(moment), timedelta())
    start = moment.replace(tzinfo=None) + put_back + timedelta(seconds=1)
    newest = (
        next((time for time in _times(schedule, start, moment.tzinfo, fold, back=True) if time <= now), None)
        for fold in _passes(schedule)
    )
    found = max((time for time in newest if time is not None), default=None)
    return None if found is None or now - found > CATCH_UP else found


def next_slot(schedule: str, after: float, time_zone: str = "UTC") -> float | None:
    """Return the first time (epoch seconds) after a moment that a cron expression names."""
    moment = datetime.fromtimestamp(after, zone(time_zone))
    put_back = max(_offset(moment) - _offset(moment + DAY), timedelta())
    start = moment.replace(tzinfo=None) - put_back
    first = (
        next((time for time in _times(schedule, start, moment.tzinfo, fold) if time > after), None)
        for fold in _passes(schedule)
    )
    return min((time for time in first if time is not None), default=None)


def _passes(schedule: str) -> tuple[int, ...]:
    """Return which of two equal times of the clock count: the first, or both."""
    return (0, 1) if schedule.split()[1].startswith("*") else (0,)


def _times(
    schedule: str, start: datetime, zone: tzinfo | None, fold: int, *, back: bool = False
) -> Iterator[float]:
    """Yield the times after, or before, one of the zone's clock; of two equal ones that of the given pass."""
    for moment in CronSim(schedule, start, reverse=back):
        yield _instant(moment, zone, fold)


def _instant(moment: datetime, zone: tzinfo | None, fold: int) -> float:
    """Return when the zone's clock shows a time, or if it never does, the first that it shows after it."""
    while True:
        aware = moment.replace(tzinfo=zone, fold=fold)
        if aware.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == moment:
            return aware.timestamp()
        moment += MINUTE


def _offset(moment: datetime) -> timedelta:
    """Return how far a zone's clock is ahead of UTC."""
    return moment.utcoffset() or timedelta()


def by_the_clock_of(time_zone: str, moment: float) -> str:
    """Return a moment (epoch seconds) as a clock of a time zone shows it: ``Thu 2026-11-26 09:00 CET``."""
    return datetime.fromtimestamp(moment, zone(time_zone)).strftime("%a %Y-%m-%d %H:%M %Z")


@cache
def zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name."""
    return UTC if name == "UTC" else ZoneInfo(name)
