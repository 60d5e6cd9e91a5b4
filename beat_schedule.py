"""What happens when: one entry a policy, plus the checks that keep everything moving.

An entry only asks. Whether a policy is due is decided by its slot, claimed once in the
state database: two beats, a message delivered twice or a restart make one backup, and a
beat that was down for a day makes up for it, once. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from celery.schedules import crontab

from strongroom.config import Settings, load_settings

TICK_SECONDS: Final = 30.0
RECONCILE_SECONDS: Final = 5.0


def entries(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return Celery's ``beat_schedule`` for a configuration."""
    return {
        "tick": every(TICK_SECONDS, "strongroom.tick"),
        "reconcile": every(RECONCILE_SECONDS, "strongroom.reconcile"),
        **{
            f"policy {name}": at(schedule, "strongroom.tick", policy=name)
            for name, schedule in settings.schedules.items()
        },
        **drill(settings),
    }


def drill(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the entry of the recovery drill, if one is scheduled."""
    schedule, policy = settings.drill.schedule, settings.drill.policy
    if schedule is None or policy is None:
        return {}
    return {f"drill {policy}": at(schedule, "strongroom.drill", policy=policy)}


def every(seconds: float, task: str) -> dict[str, Any]:
    """A check that runs again and again; one that waited through the next is dropped."""
    return {"task": task, "schedule": seconds, "options": {"queue": "control", "expires": seconds * 2}}


def at(cron: str, task: str, **arguments: str) -> dict[str, Any]:
    """A task at the times of a cron expression of five fields."""
    minute, hour, day, month, weekday = cron.split()
    when = crontab(minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday)
    return {"task": task, "schedule": when, "kwargs": arguments, "options": {"queue": "control"}}


def load(environment: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Return the entries of the configuration that the environment names."""
    return entries(load_settings() if environment is None else load_settings(environment))
