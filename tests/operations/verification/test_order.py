"""Which containers are read next: all within the span, evenly, without bursts, and not by a rule to guess."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from strongroom.operations.backup.order import (
    AIM,
    LEAST,
    MANIFEST,
    MOST,
    OVERHEAD,
    DueContainer,
    Terms,
    due_checks,
    slice_limit,
)

DAY, HOUR, MIB = 86_400.0, 3600.0, 1024 * 1024
NOW = 1_800_000_000.0
MONTH = Terms(span=30 * DAY, interval=HOUR)


def never() -> float:
    """Draw nothing: chances are small, and this is above all of them."""
    return 1.0


def items(
    count: int, *, target: str = "eu", size: int = 64 * MIB, at: float | None = NOW
) -> list[DueContainer]:
    return [
        DueContainer(
            backup=f"b{number // 200:03}", target=target, piece=number % 200, size=size, checked_at=at
        )
        for number in range(count)
    ]


def series(
    held: Sequence[DueContainer],
    terms: Terms,
    *,
    slices: int,
    draw: Callable[[], float] = never,
    away: Callable[[int], bool] = lambda _: False,
    begin: float = NOW,
) -> tuple[list[list[DueContainer]], float]:
    """Read slice after slice; return what each read, and how old the oldest item ever was."""
    state = {(one.target, one.backup, one.piece): one for one in held}
    reads: list[list[DueContainer]] = []
    oldest = 0.0
    for number in range(slices):
        now = begin + number * terms.interval
        due = [] if away(number) else due_checks(list(state.values()), terms, now=now, draw=draw)
        for one in due:
            state[one.target, one.backup, one.piece] = replace(one, checked_at=now)
        reads.append(list(due))
        oldest = max(oldest, *(now - one.read_at(now) for one in state.values()))
    return reads, oldest


def weight(read: Sequence[DueContainer]) -> int:
    return sum(one.weight for one in read)


def test_what_nobody_ever_read_comes_first_and_the_newest_backup_before_the_others() -> None:
    held = [
        *items(300, at=NOW - 25 * DAY),
        *[replace(one, checked_at=None) for one in items(201, target="eu")],
    ]
    held = [replace(one, backup=one.backup + ("-new" if one.checked_at is None else "")) for one in held]
    first = due_checks(held, MONTH, now=NOW, draw=never)[0]
    assert (first.backup, first.checked_at) == ("b001-new", None)


def test_everything_is_read_within_the_span_and_what_was_read_at_once_is_spread_over_it() -> None:
    reads, oldest = series(items(300), MONTH, slices=1100)
    assert oldest < AIM * MONTH.span
    assert max(map(len, reads)) <= 2
    assert 300 * 1 <= sum(map(len, reads)) <= 300 * 3  # three rounds at most in one and a half spans


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_few_containers_are_not_read_more_often_than_they_must_be(count: int) -> None:
    reads, oldest = series(items(count), MONTH, slices=24 * 90)
    assert oldest < AIM * MONTH.span
    assert sum(map(len, reads)) <= count * 5  # in 90 days


def test_containers_of_all_sizes_are_read_within_the_span() -> None:
    draw = random.Random(7)
    held = [replace(one, size=draw.choice([0, 4096, 64 * MIB, 900 * MIB])) for one in items(200)]
    held = [replace(one, checked_at=NOW - draw.random() * 20 * DAY) for one in held]
    reads, oldest = series(held, MONTH, slices=24 * 45)
    assert oldest < MONTH.span
    assert max(map(weight, reads)) <= slice_limit(held, MONTH) + 900 * MIB


def test_a_target_that_was_away_for_a_week_is_caught_up_with_and_its_slices_stay_within_their_limit() -> None:
    held = items(2000)
    reads, oldest = series(held, MONTH, slices=24 * 40, away=lambda number: 480 <= number < 480 + 168)
    assert oldest < MONTH.span
    assert not any(reads[480:648])
    assert max(map(weight, reads[648:])) <= slice_limit(held, MONTH)
    assert max(map(weight, reads[648:])) > 2 * weight(held) / MONTH.slices  # faster than ever before, though


def test_a_slice_reads_no_more_than_the_rate_allows() -> None:
    slow = replace(MONTH, rate=100_000.0)
    held = items(50, size=MIB, at=None)
    reads, _ = series(held, slow, slices=1)
    assert 0 < weight(reads[0]) <= 100_000.0 * HOUR
    assert weight(due_checks(items(5000, size=64 * MIB, at=None), slow, now=NOW, draw=never)) <= 360_000_000


def test_one_container_is_read_though_it_is_more_than_a_slice_may_have() -> None:
    slow = replace(MONTH, rate=10.0)
    assert len(due_checks(items(3, at=None), slow, now=NOW, draw=never)) == 1


def test_a_small_installation_reads_what_nobody_read_in_few_slices() -> None:
    small = items(30, size=4096, at=None)
    assert len(due_checks(small, MONTH, now=NOW, draw=never)) == 30
    assert LEAST > 30 * (4096 + OVERHEAD)


def test_a_slice_is_bounded_by_number_too() -> None:
    assert len(due_checks(items(2000, size=0, at=None), MONTH, now=NOW, draw=never)) == MOST


def test_each_target_has_a_share_of_its_own() -> None:
    held = [*items(540, target="eu"), *items(540, target="us", at=None), *items(1, target="ap", at=None)]
    due = due_checks(held, MONTH, now=NOW, draw=never)
    assert [one.target for one in due] == sorted(one.target for one in due)
    assert {one.target for one in due} == {"ap", "us"}


def test_a_check_that_a_wrong_clock_dated_ahead_counts_as_none() -> None:
    ahead = items(1, at=NOW + 365 * DAY)
    assert due_checks(ahead, MONTH, now=NOW, draw=never) == tuple(ahead)
    assert due_checks(items(1, at=NOW + 60), MONTH, now=NOW, draw=never) == ()


def test_a_clock_that_jumps_a_year_ahead_makes_no_burst() -> None:
    held = items(2000)
    due = due_checks(held, MONTH, now=NOW + 365 * DAY, draw=never)
    assert 0 < weight(due) <= slice_limit(held, MONTH)


def test_the_sample_is_the_part_of_the_regular_work_that_was_asked_for() -> None:
    held, draw = items(540, size=0), random.Random(3).random
    assert due_checks(held, MONTH, now=NOW, draw=draw) == ()
    half = replace(MONTH, sample=0.5)
    reads = [len(due_checks(held, half, now=NOW, draw=draw)) for _ in range(1000)]
    assert sum(reads) == pytest.approx(500, rel=0.15)  # one a slice is the regular work


def test_nothing_on_record_is_nothing_to_read() -> None:
    assert due_checks([], MONTH, now=NOW, draw=never) == ()


def test_a_manifest_costs_what_a_request_costs() -> None:
    manifest = DueContainer(backup="b", target="eu", piece=MANIFEST, size=0)
    assert manifest.weight == OVERHEAD
