"""Schedules: five cron fields that come due some day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from strongroom.config.checks.context import Context, Finding
from strongroom.config.problems import KeyPath

_RIGHT = 'Five fields (minute hour day month weekday), in UTC, for example: schedule = "0 3 * * 0"'


def check(context: Context) -> Iterator[Finding]:
    """Yield schedules that are none."""
    written: dict[KeyPath, str | None] = {
        ("policies", name, "schedule"): policy.schedule for name, policy in context.settings.policies.items()
    }
    written["repair", "schedule"] = context.settings.repair.schedule
    written["drill", "schedule"] = context.settings.drill.schedule
    written["rotation", "schedule"] = context.settings.rotation.schedule
    written["key_health", "schedule"] = context.settings.key_health.schedule
    for key, schedule in written.items():
        what = _wrong_with(schedule) if schedule else None
        if what:
            yield Finding(key, what, _RIGHT)


def _wrong_with(schedule: str) -> str | None:
    from cronsim import CronSim, CronSimError

    if len(schedule.split()) != 5:
        return "not five fields"
    try:
        next(CronSim(schedule, datetime.now(UTC)))
    except CronSimError as error:
        return str(error)[:1].lower() + str(error)[1:]
    except ValueError:  # from reading one of thousands of digits
        return "bad number"
    except StopIteration:
        return "never comes due"
    return None
