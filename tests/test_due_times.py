"""When something is due: in any time zone, on the days too on which the clock is put forward or back."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from strongroom.schedule import last_slot, next_slot

FORWARD = "2026-03-28T12:00+01:00", "2026-03-30T12:00+02:00"
BACK = "2026-10-24T12:00+02:00", "2026-10-26T12:00+01:00"
HALF_AN_HOUR_BACK = "2026-04-04T12:00+11:00", "2026-04-06T12:00+10:30"
DAY_THAT_NEVER_WAS = "2011-12-28T12:00-10:00", "2012-01-01T12:00+14:00"


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def due(schedule: str, zone: str, span: tuple[str, str]) -> list[str]:
    """Return what is due within a span, one after the other, by the zone's clock."""
    moment, end = map(seconds, span)
    found = []
    while (following := next_slot(schedule, moment, zone)) is not None and following < end:
        assert following > moment
        moment = following
        found.append(datetime.fromtimestamp(moment, ZoneInfo(zone)).strftime("%d %H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("30 2 * * *", ["29 03:00+0200", "30 02:30+0200"]),
        ("*/30 2 * * *", ["29 03:00+0200", "30 02:00+0200", "30 02:30+0200"]),
        ("0 3 * * *", ["29 03:00+0200", "30 03:00+0200"]),
        ("30 1 * * *", ["29 01:30+0100", "30 01:30+0200"]),
        ("15 2 * * 0", ["29 03:00+0200"]),
    ],
)
def test_a_time_that_is_skipped_comes_once_right_after_the_gap(schedule: str, expected: list[str]) -> None:
    assert due(schedule, "Europe/Berlin", FORWARD) == expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("30 2 * * *", ["25 02:30+0200", "26 02:30+0100"]),
        ("0 3 * * *", ["25 03:00+0100", "26 03:00+0100"]),
        ("0,30 2 * * 0", ["25 02:00+0200", "25 02:30+0200"]),
    ],
)
def test_a_time_that_comes_twice_counts_once(schedule: str, expected: list[str]) -> None:
    assert due(schedule, "Europe/Berlin", BACK) == expected


def test_what_is_due_every_hour_goes_on_every_hour_while_the_clock_is_put_back() -> None:
    found = due("17 * * * *", "Europe/Berlin", BACK)

    assert found[13:17] == ["25 01:17+0200", "25 02:17+0200", "25 02:17+0100", "25 03:17+0100"]
    assert len(found) == 49


def test_a_zone_that_skips_a_whole_day_skips_no_slot() -> None:
    assert due("0 12 * * *", "Pacific/Apia", DAY_THAT_NEVER_WAS) == [
        "29 12:00-1000",
        "31 00:00+1400",
        "31 12:00+1400",
    ]


@pytest.mark.parametrize("span", [FORWARD, BACK, HALF_AN_HOUR_BACK])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe"])
@pytest.mark.parametrize("schedule", ["30 2 * * *", "*/20 2 * * *", "45 1,2 * * *", "*/15 * * * *"])
def test_at_every_moment_the_last_slot_is_the_newest_that_has_come_and_the_next_the_first_that_has_not(
    schedule: str, zone: str, span: tuple[str, str]
) -> None:
    begin, end = map(seconds, span)
    slots = [next_slot(schedule, begin, zone) or 0.0]
    while slots[-1] < end:
        slots.append(next_slot(schedule, slots[-1], zone) or 0.0)

    for earlier, later in pairwise(slots):
        for moment in (*range(int(earlier), int(later), 1800), later - 1):
            assert last_slot(schedule, moment, zone) == earlier
            assert next_slot(schedule, moment, zone) == later


def test_what_was_due_more_than_a_year_ago_is_due_no_more() -> None:
    assert last_slot("0 0 29 2 *", seconds("2027-03-01T00:00+00:00")) is None
    assert last_slot("0 0 1 3 *", seconds("2027-02-28T00:00+00:00")) == seconds("2026-03-01T00:00+00:00")
