"""What happens when: one entry a policy, plus the checks that keep everything moving.

An entry only asks. Whether a policy is due is decided by its slot, claimed once in the
state database: two beats, a message delivered twice or a restart make one backup, and a
beat that was down for a day makes up for it, once. Times are UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from celery.schedules import BaseSchedule
from cronsim import CronSim

from strongroom.config import Settings

# The names of workers/names.py. They are written again because this file must load without workers and
# without strongroom.state; tests/workers/test_beat_schedule.py compares them.
CONTROL: Final = "control"
VERIFY: Final = "verify"
TICK: Final = "strongroom.tick"
RECONCILE: Final = "strongroom.reconcile"
KEY_HEALTH: Final = "strongroom.keys.health"
LEDGER: Final = "strongroom.ledger.publish"
SHRED_PENDING: Final = "strongroom.shred.pending"
ALERTS: Final = "strongroom.watch.alerts"

TICK_SECONDS: Final = 30.0
RECONCILE_SECONDS: Final = 5.0
KEY_HEALTH_SECONDS: Final = 3600.0
"""How often is asked whether the quarterly trial of the keys is due."""
SHRED_SECONDS: Final = 3600.0
ALERT_SECONDS: Final = 900.0
LEDGER_SECONDS: Final = 3600.0


def entries(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return Celery's ``beat_schedule`` for a configuration."""
    return {
        "tick": every(TICK_SECONDS, TICK),
        "reconcile": every(RECONCILE_SECONDS, RECONCILE),
        **{f"policy {name}": at(cron, TICK, policy=name) for name, cron in settings.schedules.items()},
        "repair degraded": at(settings.repair.schedule, TICK, repair="degraded"),
        **drill(settings),
        **rotation(settings),
        "key health": every(KEY_HEALTH_SECONDS, KEY_HEALTH, queue=VERIFY),
        "ledger head": every(LEDGER_SECONDS, LEDGER),
        **shredding(settings),
        **alerting(settings),
    }


def drill(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the entry of the recovery drill, if one is scheduled."""
    cron, policy = settings.drill.schedule, settings.drill.policy
    if cron is None or policy is None:
        return {}
    return {f"drill {policy}": at(cron, TICK, drill=policy)}


def shredding(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the entry that finishes what waits to be shredded, if a policy is erasable."""
    if not any(policy.erasable for policy in settings.policies.values()):
        return {}
    return {"shred pending": every(SHRED_SECONDS, SHRED_PENDING, queue=VERIFY)}


def alerting(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the entry that tells people what is wrong, if anybody is named.

    While beat is silent a transfer worker asks for it: see ``workers/beat_fallback.py``.
    """
    if not settings.alerts.email:
        return {}
    return {"alerts": every(ALERT_SECONDS, ALERTS)}


def rotation(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the entry of the rotation of keys, if one is scheduled."""
    cron = settings.rotation.schedule
    return {} if cron is None else {"rotate keys": at(cron, TICK, rotate="due")}


def every(seconds: float, task: str, *, queue: str = CONTROL) -> dict[str, Any]:
    """A check that runs again and again; one that waited through the next is dropped."""
    return {"task": task, "schedule": seconds, "options": {"queue": queue, "expires": seconds * 2}}


def at(cron: str, task: str, **arguments: str) -> dict[str, Any]:
    """A task at the times of a cron expression of five fields."""
    return {"task": task, "schedule": Cron(cron), "kwargs": arguments, "options": {"queue": CONTROL}}


class Due(NamedTuple):
    """Whether to send now, and in how many seconds to ask again."""

    is_due: bool
    next: float


class Cron(BaseSchedule):  # type: ignore[misc]
    """The times of a cron expression, as slots understand it.

    Celery's own ``crontab`` reads day-of-month with day-of-week as "and" where cron says
    "or", and knows no Sunday 7.
    """

    def __init__(self, expression: str) -> None:
        super().__init__()
        self.expression = expression

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
        return next(CronSim(self.expression, moment.astimezone(UTC)))

    def __repr__(self) -> str:
        return f"<cron {self.expression}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cron) and self.expression == other.expression

    def __hash__(self) -> int:
        return hash(self.expression)

    def __reduce__(self) -> tuple[type[Cron], tuple[str]]:
        return Cron, (self.expression,)
