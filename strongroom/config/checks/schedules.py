"""Schedules: five cron fields that come due some day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from strongroom.config.checks.context import Context, Misfit
from strongroom.config.model import Settings
from strongroom.config.problems import KeyPath

_RIGHT = 'Five fields (minute hour day month weekday), for example: {} = "0 3 * * 0"'
_NO_ZONE = "this machine knows no such time zone"
_RIGHT_ZONE = 'A name of the IANA database, for example: time_zone = "Europe/Berlin"'


def check(context: Context) -> Iterator[Misfit]:
    """Yield schedules that are none."""
    for key, schedule in _schedules(context.settings):
        if schedule and (what := _wrong_with(schedule)):
            yield Misfit(key, what, _RIGHT.format(key[-1]))
    for name, policy in context.settings.policies.items():
        if policy.time_zone and not _is_zone(policy.time_zone):
            yield Misfit(("policies", name, "time_zone"), _NO_ZONE, _RIGHT_ZONE)
    if not _is_zone(context.settings.calendar.time_zone):
        yield Misfit(("calendar", "time_zone"), _NO_ZONE, _RIGHT_ZONE)


def _schedules(settings: Settings) -> Iterator[tuple[KeyPath, str | None]]:
    for name, policy in settings.policies.items():
        yield ("policies", name, "schedule"), policy.schedule
    for name, entry in settings.calendar.entries().items():
        yield ("calendar", name), entry.schedule


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):  # a path, a directory of zones, no such zone
        return False
    return True


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
