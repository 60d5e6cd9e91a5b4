"""One way to read and to write lengths of time and moments."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from strongroom import times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("15 min", 900),
        ("2h", 7200),
        ("1.5h", 5400),
        ("7d", 604_800),
        ("2w", 1_209_600),
    ],
)
def test_a_length_of_time_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert times.parse(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "h", "-1h", "1 year", "1h30m", "1e3s", "٣h", "1234567890s", " 1h"]
)
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no length of time"):
        times.parse(text)


@pytest.mark.parametrize(
    ("seconds", "about", "at_least"),
    [
        (-5, "0 seconds", "1 s"),
        (1, "1 second", "1 s"),
        (119.2, "119 seconds", "2 min"),
        (120, "2 minutes", "2 min"),
        (7_199, "119 minutes", "2 h 0 min"),
        (7_200, "2 hours", "2 h 0 min"),
        (100_000, "27 hours", "27 h 47 min"),
        (3 * 86_400, "3 days", "72 h 0 min"),
    ],
)
def test_a_length_of_time_is_written_in_the_unit_that_fits_it(
    seconds: float, about: str, at_least: str
) -> None:
    assert times.about(seconds) == about
    assert times.at_least(seconds) == at_least


def test_what_no_clock_shows_is_not_written_as_a_number() -> None:
    assert times.about(math.nan) == times.about(math.inf) == "nobody knows how long"
    assert times.measured(math.nan) == "nobody knows how long"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 ms"),
        (0.034, "34 ms"),
        (3.21, "3.2 s"),
        (125.4, "2 min 5 s"),
        (1234.56, "20 min 35 s"),
        (7200, "2 h"),
        (3_600_060, "1,000 h 1 min"),
    ],
)
def test_what_a_clock_showed_is_written_in_at_most_two_units(seconds: float, said: str) -> None:
    assert times.measured(seconds) == said


def test_a_moment_is_written_in_utc_to_the_second_whatever_its_zone() -> None:
    moment = datetime(2026, 11, 26, 10, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))

    for same in (moment, moment.astimezone(UTC), moment.timestamp()):
        assert times.rfc3339(same) == "2026-11-26T08:00:00Z"
        assert times.compact(same) == "20261126T080000Z"
        assert times.for_people(same) == "2026-11-26 08:00:00 UTC"
    assert times.if_any(None) is None
    assert times.if_any(moment) == "2026-11-26T08:00:00Z"
