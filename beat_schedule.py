"""What happens when: each entry of the calendar, plus the checks that keep everything moving.

An entry only asks. Whether a policy is due is decided by its slot, claimed once in the
state database: two beats, a message delivered twice or a restart make one backup, and a
beat that was down for a day makes up for it, once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from celery.schedules import BaseSchedule

from strongroom.config import Settings
from strongroom.schedule import next_slot
from workers import names


def entries(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return Celery's ``beat_schedule`` for a configuration.

    What does its work in the task is a monitor of Sentry's under this name, so it has no blank in it.
    """
    return {
        "tick": every(names.TICK),
        "reconcile": every(names.RECONCILE),
        **calendar(settings),
        "ledger-head": every(names.LEDGER),
        **shredding(settings),
        **alerting(settings),
    }


def calendar(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the calendar: each policy with a schedule, and each built-in entry that is not switched off.

    They ask at the minute; the tick would, within half a minute.
    """
    policies = {
        f"policy {name}": at(policy.schedule, settings.calendar.zone_of(policy.time_zone), name)
        for name, policy in settings.policies.items()
        if policy.schedule
    }
    entries = {
        name: at(entry.schedule, settings.calendar.time_zone, name)
        for name, entry in settings.calendar.entries().items()
        if not entry.off
    }
    return policies | entries


def shredding(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the entry that finishes what waits to be shredded, if a policy is erasable."""
    if not any(policy.erasable for policy in settings.policies.values()):
        return {}
    return {"shred-pending": every(names.SHRED_PENDING)}


def alerting(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the entry that tells people what is wrong, if anybody is to be told.

    While beat is silent a transfer worker asks for it: see ``workers/beat_fallback.py``.
    """
    if not settings.tells:
        return {}
    return {"alerts": every(names.ALERTS)}


def every(task: str) -> dict[str, Any]:
    """A check that runs again and again; one that waited through the next is dropped."""
    seconds = names.SECONDS_BETWEEN[task]
    return {
        "task": task,
        "schedule": seconds,
        "options": {"queue": names.HOME_OF[task], "expires": seconds * 2},
    }


def at(cron: str, time_zone: str, entry: str) -> dict[str, Any]:
    """A tick at the times of a cron expression of five fields."""
    options = {"queue": names.HOME_OF[names.TICK]}
    return {
        "task": names.TICK,
        "schedule": Cron(cron, time_zone),
        "kwargs": {"entry": entry},
        "options": options,
    }


class Due(NamedTuple):
    """Whether to send now, and in how many seconds to ask again."""

    is_due: bool
    next: float


class Cron(BaseSchedule):  # type: ignore[misc]
    """The times of a cron expression, as slots understand it.

    Celery's own ``crontab`` reads day-of-month with day-of-week as "and" where cron says
    "or", and knows no Sunday 7.
    """

    def __init__(self, expression: str, time_zone: str = "UTC") -> None:
        super().__init__()
        self.expression = expression
        self.time_zone = time_zone

    def is_due(self, last_run_at: datetime) -> Due:
        """Tell whether a time has passed since the last run."""
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return Due(is_due=False, next=left)
        now = self.now()
        return Due(is_due=True, next=(self._after(now) - now).total_seconds())

    def remaining_estimate(self, last_run_at: datetime) -> Any:
        """Return how long it is until the first time after the last run."""
        return self._after(last_run_at) - self.now()

    def _after(self, moment: datetime) -> datetime:
        following = next_slot(self.expression, moment.timestamp(), self.time_zone)
        return datetime.fromtimestamp(following or 0.0, UTC)

    def __repr__(self) -> str:
        return f"<cron {self.expression} {self.time_zone}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cron) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __reduce__(self) -> tuple[type[Cron], tuple[str, str]]:
        return Cron, (self.expression, self.time_zone)
