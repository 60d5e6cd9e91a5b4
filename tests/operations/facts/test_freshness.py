"""Freshness: what is overdue by cron arithmetic, whoever should have made it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from strongroom.model import Depth
from strongroom.operations.judge.fact_records import BackupContents, Policy, VerifiedBackup
from strongroom.operations.judge.freshness import OFFLINE, is_verified, judge

HOUR, DAY = 3600.0, 86_400.0
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
"""A Wednesday."""

DAILY, HOURLY, WEEKLY = "0 2 * * *", "0 * * * *", "0 3 * * 0"


def seen(age: float, **fields: object) -> VerifiedBackup:
    values = {"backup": f"b{age:.0f}", "made_at": NOON - age, "depth": Depth.DIGEST}
    return VerifiedBackup(**{**values, **fields})  # type: ignore[arg-type]


def policy(schedule: str | None, verified: VerifiedBackup | None, **fields: object) -> Policy:
    values = {"name": "p", "schedule": schedule, "verified": verified, "newest": verified}
    return Policy(**{**values, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedule", "age", "threshold", "overdue"),
    [
        (DAILY, 10 * HOUR, DAY, False),  # of this night
        (DAILY, 33 * HOUR, DAY, False),  # of yesterday: this night's is late, by less than a day
        (DAILY, 35 * HOUR, DAY, True),  # of before yesterday's: that one is late by more
        (DAILY, 35 * HOUR, 2 * DAY, False),
        (HOURLY, 90 * 60, DAY, False),
        (HOURLY, 25 * HOUR, DAY, True),  # though the newest hour is late by minutes only
        (HOURLY, 3 * HOUR, HOUR, True),
        (WEEKLY, 6 * DAY, DAY, True),  # Sunday at 3 has passed since, by more than a day
        (WEEKLY, 3 * DAY, DAY, False),
        (WEEKLY, 6 * DAY, 4 * DAY, False),
        ("0 3 1 * *", 20 * DAY, DAY, False),
        ("0 3 29 2 *", 300 * DAY, DAY, False),  # a leap day that is further back than is looked
        (None, 900 * DAY, DAY, False),
    ],
)
def test_a_time_that_passed_without_a_backup_counts(
    schedule: str | None, age: float, threshold: float, overdue: bool
) -> None:
    assert judge(policy(schedule, seen(age)), threshold=threshold, now=NOON).overdue is overdue


def test_the_times_of_a_schedule_are_those_of_its_time_zone() -> None:
    made = NOON - DAY - 9.5 * HOUR  # 02:30 UTC, and 21:30 of the day before in New York
    last = VerifiedBackup(backup="b", made_at=made, depth=Depth.DIGEST)
    in_new_york = policy(DAILY, last, time_zone="America/New_York")
    assert judge(policy(DAILY, last), threshold=DAY, now=NOON).missed_at == NOON - 10 * HOUR
    judged = judge(in_new_york, threshold=DAY, now=NOON)
    assert judged.missed_at == NOON - DAY - 5 * HOUR
    assert judged.overdue


def test_a_policy_that_was_never_backed_up_is_overdue_by_its_newest_time() -> None:
    found = judge(policy(DAILY, None), threshold=HOUR, now=NOON)
    assert (found.overdue, found.age, found.missed_at) == (True, None, NOON - 10 * HOUR)


def test_what_came_due_before_the_installation_nobody_missed() -> None:
    """Two policies, made at noon: the one of each night is overdue when its first night has passed."""
    new = policy(DAILY, None, begun=NOON)
    found = judge(new, threshold=HOUR, now=NOON + HOUR)
    assert (found.overdue, found.missed_at, found.next_due) == (False, None, NOON + 14 * HOUR)
    late = judge(new, threshold=HOUR, now=NOON + 16 * HOUR)
    assert (late.overdue, late.missed_at) == (True, NOON + 14 * HOUR)
    held = (BackupContents(backup="b", secrets=1, size=1),)
    lost = policy(DAILY, None, begun=NOON, held=held)
    assert judge(lost, threshold=HOUR, now=NOON + HOUR).overdue, "a backup that is gone is missed at once"


def test_a_policy_whose_schedule_was_switched_off_is_never_overdue() -> None:
    found = judge(policy(None, None), threshold=HOUR, now=NOON)
    assert (found.overdue, found.due_at, found.missed_at) == (False, None, None)


def test_a_schedule_that_was_changed_is_judged_by_the_new_one() -> None:
    """As ``open_due`` makes up for it: what the new schedule has missed is run at once."""
    six_days_old = seen(6 * DAY)
    assert not judge(policy(WEEKLY, six_days_old), threshold=5 * DAY, now=NOON).overdue
    assert judge(policy(DAILY, six_days_old), threshold=4 * DAY, now=NOON).overdue


def test_it_is_missed_from_the_first_time_after_the_backup_on() -> None:
    found = judge(policy(DAILY, seen(3 * DAY)), threshold=DAY, now=NOON)
    assert found.missed_at == NOON - 3 * DAY + 14 * HOUR
    assert found.due_at == NOON - 10 * HOUR


def test_the_moment_of_the_schedule_itself_counts_for_the_backup() -> None:
    assert not judge(policy(DAILY, seen(10 * HOUR)), threshold=HOUR, now=NOON).overdue
    assert judge(policy(DAILY, seen(10 * HOUR + 1)), threshold=HOUR, now=NOON).overdue


def test_a_backup_that_nobody_read_back_keeps_no_policy_fresh() -> None:
    whole = seen(HOUR, depth=None)
    assert judge(policy(DAILY, seen(9 * DAY), newest=whole), threshold=DAY, now=NOON).overdue


def test_where_nothing_is_known_of_verification_what_lies_on_targets_counts() -> None:
    whole = seen(HOUR, depth=None, recorded=False)
    found = judge(policy(DAILY, None, newest=whole), threshold=DAY, now=NOON)
    assert (found.overdue, found.judged) == (False, whole)
    without_state = seen(HOUR, depth=None)
    assert not judge(
        policy(DAILY, None, newest=without_state), threshold=DAY, now=NOON, recorded=False
    ).overdue


def test_a_backup_of_the_future_hides_nothing() -> None:
    assert judge(policy(DAILY, seen(-DAY)), threshold=DAY, now=NOON).overdue
    assert not judge(policy(DAILY, seen(-60.0)), threshold=DAY, now=NOON).overdue, "clocks differ a little"


def test_the_medium_of_an_offline_policy_is_waited_for_a_week() -> None:
    made = seen(6 * DAY)
    assert not judge(policy(WEEKLY, made, offline=True), threshold=HOUR, now=NOON).overdue
    assert judge(policy(WEEKLY, made, offline=True), threshold=HOUR, now=NOON + OFFLINE).overdue


@pytest.mark.parametrize(
    ("depth", "wanted", "verified"),
    [
        (None, Depth.PRESENT, False),
        (Depth.PRESENT, Depth.OPENED, False),
        (Depth.PRESENT, Depth.PRESENT, True),
        (Depth.DIGEST, Depth.COMPARED, True),
        (Depth.LIVE, Depth.OPENED, True),
    ],
)
def test_verified_means_that_bytes_were_read(depth: Depth | None, wanted: Depth, verified: bool) -> None:
    assert is_verified(depth, wanted) is verified
