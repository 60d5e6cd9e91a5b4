"""When something was due: the times of cron expressions (five fields, UTC), as slots and alarms read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cronsim import CronSim

CATCH_UP = timedelta(days=366)
"""How far back an overdue slot is looked for."""


def last_slot(schedule: str, now: float) -> float | None:
    """Return the newest time (epoch seconds) not after ``now`` that a cron expression names."""
    moment = datetime.fromtimestamp(now, UTC)
    previous = next(iter(CronSim(schedule, moment + timedelta(seconds=1), reverse=True)), None)
    if previous is None or moment - previous > CATCH_UP:
        return None
    return previous.timestamp()


def next_slot(schedule: str, after: float) -> float | None:
    """Return the first time (epoch seconds) after a moment that a cron expression names."""
    following = next(iter(CronSim(schedule, datetime.fromtimestamp(after, UTC))), None)
    return None if following is None else following.timestamp()
