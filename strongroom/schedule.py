"""When something was due: the times of cron expressions (five fields), as slots and alarms read them.

A time that is skipped when the clock is put forward comes right after the gap. One that comes twice when it
is put back counts once, the first time. What is due every hour, or within each, goes by the hours that pass.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

CATCH_UP = timedelta(days=366)
"""How far back an overdue slot is looked for."""


def last_slot(schedule: str, now: float, time_zone: str = "UTC") -> float | None:
    """Return the newest time (epoch seconds) not after ``now`` that a cron expression names."""
    moment = datetime.fromtimestamp(now, _zone(time_zone))
    previous = next(iter(CronSim(schedule, moment + timedelta(seconds=1), reverse=True)), None)
    if previous is None or now - previous.timestamp() > CATCH_UP.total_seconds():
        return None
    return previous.timestamp()


def next_slot(schedule: str, after: float, time_zone: str = "UTC") -> float | None:
    """Return the first time (epoch seconds) after a moment that a cron expression names."""
    following = next(iter(CronSim(schedule, datetime.fromtimestamp(after, _zone(time_zone)))), None)
    return None if following is None else following.timestamp()


@cache
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)
