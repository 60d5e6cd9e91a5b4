"""Slots twice: the real functions, remembered, and a plain model that only counts days and hours."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from strongroom import schedule as real

LastSlot = Callable[..., float | None]

_spans: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
"""For each schedule and zone the slots that were asked for, and when the one after each comes."""


def last_slot(schedule: str, now: float, time_zone: str = "UTC") -> float | None:
    """Return what the real ``last_slot`` returns; ask it once for each slot, not at each tick."""
    begins, ends = _spans.setdefault((schedule, time_zone), ([], []))
    at = bisect_right(begins, now) - 1
    if at >= 0 and now < ends[at]:
        return begins[at]
    slot, after = real.last_slot(schedule, now, time_zone), real.next_slot(schedule, now, time_zone)
    if slot is not None and after is not None and slot not in begins:
        insort(begins, slot)
        ends.insert(begins.index(slot), after)
    return slot


def next_after(schedule: str, now: float, time_zone: str) -> float:
    """Return when the slot after the newest one comes."""
    if last_slot(schedule, now, time_zone) is None:
        return real.next_slot(schedule, now, time_zone) or now
    begins, ends = _spans[schedule, time_zone]
    return ends[bisect_right(begins, now) - 1]


FIRST, LAST = date(2024, 1, 1), date(2031, 1, 1)
"""The days from the first to the last of any simulated year."""


# -- the plain model -----------------------------------------------------------------------------------------


@cache
def slots(schedule: str, time_zone: str) -> tuple[float, ...]:
    """Return every slot of some years, by counting days: of the few forms of schedules that are drawn here.

    The minute is a number, the hour numbers, ``*`` or ``*/N``, the rest numbers or ``*``.
    """
    return tuple(sorted(set(_slots(schedule, ZoneInfo(time_zone)))))


def _slots(schedule: str, zone: ZoneInfo) -> Iterator[float]:
    minute, hour, *day_fields = schedule.split()
    for number in range((LAST - FIRST).days):
        day = FIRST + timedelta(days=number)
        if not _is_day(day, day_fields):
            continue
        for at in _hours(hour):
            yield _moment(datetime(day.year, day.month, day.day, at, int(minute), tzinfo=zone))


def _hours(field: str) -> Iterator[int]:
    every = 1 if field == "*" else int(field[2:]) if field.startswith("*/") else 0
    yield from range(0, 24, every) if every else [int(one) for one in field.split(",")]


def _is_day(day: date, fields: list[str]) -> bool:
    of_month, month, of_week = fields
    return all(
        field == "*" or value in map(int, field.split(","))
        for field, value in ((of_month, day.day), (month, day.month), (of_week, day.isoweekday() % 7))
    )


def _moment(local: datetime) -> float:
    """Return when a time of day is: the first of two, and what is skipped right after the gap."""
    instant = local.astimezone(UTC)
    back = instant.astimezone(local.tzinfo)
    if back.replace(tzinfo=None) == local.replace(tzinfo=None):
        return instant.timestamp()
    return _gap_end(instant, local).timestamp()


def _gap_end(near: datetime, local: datetime) -> datetime:
    """Return the first minute after the gap that a time of day falls into."""
    minute = near - timedelta(hours=3)
    while minute.astimezone(local.tzinfo).replace(tzinfo=None) < local.replace(tzinfo=None):
        minute += timedelta(minutes=1)
    return minute
