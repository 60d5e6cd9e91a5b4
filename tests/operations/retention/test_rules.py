"""What the retention rules keep and drop, and what they say of it."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from strongroom.model import Depth, Selection
from strongroom.operations.engine.services import KeepRules
from strongroom.operations.retention.rules import Candidate, Judgement, RetentionRule, judge
from tests.operations.retention.made import DAY, at, candidate, keep

NOW = at("2026-11-27 12:00")


def days_ago(days: float) -> float:
    return NOW - days * DAY


def judged(*found: Candidate, rules: dict[str, KeepRules] | None = None, **more: object) -> list[Judgement]:
    return list(judge(found, keep() if rules is None else rules, now=NOW, **more))  # type: ignore[arg-type]


def kept_by(*found: Candidate, **more: object) -> list[str]:
    """Return the rule that keeps each backup, newest first."""
    return [one.rule.value for one in judged(*found, **more)]  # type: ignore[arg-type]


def test_what_no_rule_keeps_is_dropped_and_names_what_covers_it() -> None:
    new, old = candidate(days_ago(2)), candidate(days_ago(9))
    kept, dropped = judged(old, new)
    assert (kept.backup, kept.keeps, kept.rule) == (new.backup, True, RetentionRule.NEWEST_VERIFIED)
    assert (dropped.backup, dropped.keeps, dropped.rule) == (old.backup, False, RetentionRule.SUPERSEDED)
    assert dropped.successor == new.backup
    assert new.backup in dropped.why


def test_without_keep_rules_everything_is_kept() -> None:
    found = [candidate(days_ago(age)) for age in (2, 400, 4_000)]
    rules = {"daily": KeepRules(minimum_days=1, minimum_count=1)}
    assert kept_by(*found, rules=rules) == ["no-rules"] * 3


def test_the_minimum_age_and_the_minimum_count_both_hold() -> None:
    found = [candidate(days_ago(age)) for age in (1, 20, 40, 60, 80)]
    assert kept_by(*found, rules=keep(minimum_days=30, minimum_count=3)) == [
        "newest-verified",
        "minimum-age",
        "minimum-count",
        "superseded",
        "superseded",
    ]


def test_a_backup_is_kept_until_it_is_as_old_as_the_policy_says() -> None:
    new = candidate(days_ago(2))
    for age, rule in ((30.001, "superseded"), (29.999, "minimum-age")):
        assert kept_by(new, candidate(days_ago(age)), rules=keep(minimum_days=30))[1] == rule


def test_each_day_week_month_and_year_keeps_its_newest() -> None:
    times = ("2026-11-26 02:00", "2026-11-26 01:00", "2026-11-25 01:00", "2026-11-23 01:00")
    older = ("2026-11-20 01:00", "2026-10-30 01:00", "2026-10-02 01:00", "2025-12-30 01:00")
    found = [candidate(at(text)) for text in (*times, *older)]
    assert kept_by(*found, rules=keep(daily=2, weekly=2, monthly=2, yearly=2)) == [
        "newest-verified",
        "superseded",  # the same day has a newer one
        "daily",
        "superseded",  # the same week has a newer one, and two days are full
        "weekly",
        "monthly",
        "superseded",
        "yearly",
    ]


def test_the_same_week_and_month_of_another_year_are_others() -> None:
    found = [candidate(at(text)) for text in ("2026-11-20 01:00", "2025-11-21 01:00", "2024-11-22 01:00")]
    for rule in ("weekly", "monthly"):
        assert kept_by(*found, rules=keep(**{rule: 2})) == ["newest-verified", rule, "superseded"]


def test_a_day_begins_at_midnight_of_the_policys_own_time_zone() -> None:
    # 23:30 and 00:30 in Berlin: two days there and one day in UTC.
    found = [candidate(at("2026-07-10 22:30")), candidate(at("2026-07-10 21:30"))]
    assert kept_by(*found, rules=keep(daily=2))[1] == "superseded"
    assert kept_by(*found, rules=keep(daily=2, zone=ZoneInfo("Europe/Berlin")))[1] == "daily"


@pytest.mark.parametrize("text", ["2026-10-25 00:30", "2026-03-29 00:30"])
def test_the_hours_about_a_change_of_the_clock_are_one_day(text: str) -> None:
    found = [candidate(at(text) + 3_600 * hour) for hour in range(3)]
    rules = keep(daily=9, zone=ZoneInfo("Europe/Berlin"))
    assert kept_by(*found, rules=rules)[1:] == ["superseded"] * 2


def test_an_unverified_backup_takes_the_place_of_no_verified_one() -> None:
    present = [candidate(days_ago(age), verified=Depth.PRESENT) for age in (2, 3, 4)]
    verified = [candidate(days_ago(age)) for age in (5, 6, 7)]
    assert kept_by(*present, *verified, rules=keep(last=2)) == [
        *["minimum-count"] * 3,
        "newest-verified",
        "last",
        "superseded",
    ]


def test_the_newest_verified_backup_stays_though_newer_ones_lie_there() -> None:
    for broken in (
        {"verified": None},
        {"verified": Depth.PRESENT},
        {"whole": False},
        {"aside": "in quarantine"},
    ):
        new = [candidate(days_ago(age), **broken) for age in (2, 3)]
        [*_, newest] = judged(*new, candidate(days_ago(400)), rules=keep(minimum_count=1, last=1))
        assert (newest.keeps, newest.rule) == (True, RetentionRule.NEWEST_VERIFIED), broken


def test_the_newest_backup_that_was_opened_stays_though_newer_ones_were_only_read() -> None:
    # They may be sealed to a key that nobody has: only opening one tells.
    opened = [candidate(days_ago(age), verified=Depth.OPENED) for age in (300, 400)]
    assert kept_by(candidate(days_ago(2)), *opened) == ["newest-verified", "newest-opened", "superseded"]


@pytest.mark.parametrize(
    "smaller",
    [
        {"selection": Selection(include=("prod/*",))},
        {"selection": Selection(tags={"priority": "critical"})},
        {"selection": Selection(exclude=("*/scratch",))},
        {"secrets": 89},
        {"values": False},
    ],
    ids=str,
)
def test_a_backup_of_less_replaces_none_of_more(smaller: dict[str, object]) -> None:
    less = [candidate(days_ago(age), **smaller) for age in (2, 3)]
    more = [candidate(days_ago(age)) for age in (8, 9)]
    assert kept_by(*less, *more) == ["newest-verified", "superseded", "not-covered", "superseded"]


STALE = "not read since 2026-01-01T00:00:00Z"


def test_a_backup_that_nobody_read_for_long_replaces_nothing_and_takes_no_place() -> None:
    stale, older, oldest = (
        candidate(days_ago(2), stale=STALE),
        candidate(days_ago(9)),
        candidate(days_ago(10)),
    )
    found = judged(stale, older, oldest)
    assert [one.rule for one in found] == [
        RetentionRule.NEWEST_VERIFIED,
        RetentionRule.MINIMUM_COUNT,
        RetentionRule.SUPERSEDED,
    ]
    assert found[2].successor == older.backup
    every = [candidate(days_ago(age), stale=STALE) for age in (2, 3, 4)]
    assert [one.keeps for one in judged(*every)] == [True] * 3
    assert STALE in judged(*every)[2].why


def test_what_only_a_backup_covers_that_nobody_read_for_long_is_kept_and_says_so() -> None:
    part = Selection(include=("prod/*",))
    new = candidate(days_ago(2), selection=part)
    stale, old = candidate(days_ago(3), stale=STALE), candidate(days_ago(9))
    held = {stale.backup: "a case"}
    [*_, kept] = judged(new, stale, old, held=held)
    assert (kept.rule, kept.why) == (RetentionRule.NOT_READ, f"{stale.backup} covers it, and was {STALE}")


def test_a_backup_that_goes_itself_replaces_nothing() -> None:
    shrinking = [candidate(days_ago(age), secrets=count) for age, count in ((2, 81), (8, 90), (9, 100))]
    assert kept_by(*shrinking) == ["newest-verified", "superseded", "not-covered"]


def test_a_backup_of_more_replaces_one_of_less() -> None:
    less = candidate(days_ago(9), selection=Selection(include=("prod/*",), tags={"priority": "critical"}))
    assert kept_by(candidate(days_ago(2)), less) == ["newest-verified", "superseded"]


def test_a_backup_of_another_policy_or_source_replaces_nothing() -> None:
    rules = keep() | {"renamed": keep()["daily"]}
    others = candidate(days_ago(2), policy="renamed"), candidate(days_ago(3), source="vault")
    assert kept_by(*others, candidate(days_ago(400)), rules=rules) == ["newest-verified"] * 3


def test_what_belongs_to_no_policy_here_or_to_another_installation_is_kept_and_covers_nothing() -> None:
    orphan = candidate(days_ago(2), policy="old-name")
    foreign = candidate(days_ago(3), foreign="another installation signed it")
    ours = candidate(days_ago(400))
    first, second, third = judged(orphan, foreign, ours)
    assert (first.rule, second.rule, third.rule) == (
        RetentionRule.FOREIGN,
        RetentionRule.FOREIGN,
        RetentionRule.NEWEST_VERIFIED,
    )
    assert "old-name" in first.why
    assert second.why == "another installation signed it"


def test_a_backup_of_the_future_is_kept_and_hides_nothing() -> None:
    ahead = [candidate(NOW + 3_600 * hour) for hour in (1, 2)]
    assert kept_by(*ahead, candidate(days_ago(9))) == ["misdated", "misdated", "newest-verified"]
    assert kept_by(candidate(float("inf"), backup="x"), candidate(-DAY)) == ["misdated", "misdated"]


def test_what_was_made_while_a_clock_was_wrong_is_kept_and_hides_nothing() -> None:
    wrong = candidate(days_ago(2), misdated="made after a later one")
    assert kept_by(wrong, candidate(days_ago(9))) == ["misdated", "newest-verified"]


def test_a_hold_and_a_need_keep_what_nothing_else_keeps_and_say_why() -> None:
    new, held, needed = (candidate(days_ago(age)) for age in (2, 8, 9))
    _, first, second = judged(
        new, held, needed, held={held.backup: "case 4711"}, needed={needed.backup: "run X restores it"}
    )
    assert (first.rule, first.why) == (RetentionRule.HOLD, "case 4711")
    assert (second.rule, second.why) == (RetentionRule.NEEDED, "run X restores it")


def test_a_backup_that_is_kept_for_a_hold_covers_older_ones_as_any_other_does() -> None:
    partial = candidate(days_ago(2), selection=Selection(include=("prod/*",)))
    held, old = candidate(days_ago(8)), candidate(days_ago(9))
    *_, judgement = judged(partial, held, old, held={held.backup: "case 4711"})
    assert judgement.successor == held.backup


def test_what_was_sealed_anew_counts_once_and_covers_what_it_replaced() -> None:
    first = candidate(days_ago(9), backup="20261118T120000Z-aaaa")
    again = [candidate(days_ago(9), backup=f"{first.backup}-r{number}") for number in (1, 2, 10)]
    older = candidate(days_ago(10))
    found = judged(first, *again, older, rules=keep(last=2))
    assert [one.backup for one in found[:2]] == [again[2].backup, again[1].backup]
    assert [one.rule.value for one in found] == ["newest-verified", *["superseded"] * 3, "last"]


def test_two_backups_of_one_second_are_judged_alike_in_whatever_order_they_are_found() -> None:
    pair = [candidate(days_ago(9), backup=f"20261118T120000Z-{end}") for end in ("aaaa", "bbbb")]
    assert judged(*pair) == judged(*reversed(pair))
    assert [one.keeps for one in judged(*pair)] == [True, False]
