"""A bug planted in any of six places is found within 50 seeds, and told with the few faults that it needs.

Here each is looked for from the first seed on that finds it, in two months with as many faults as in a year.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from strongroom.container.marks import DeletionMark
from strongroom.operations.archive import deletions, removal
from strongroom.operations.backup import order
from strongroom.operations.backup.order import DueContainer, Terms
from strongroom.operations.engine import submit
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.judge import freshness
from strongroom.operations.judge.fact_records import Policy
from strongroom.operations.retention import rules
from strongroom.operations.retention.rules import Candidate
from strongroom.times import rfc3339
from tests.simulation import slots
from tests.simulation.simulation import Lived, live, shrink

LAST = 50
DAYS = 60


def forget_what_was_slept_through(
    entries: Iterable[Scheduled], *, newest: Callable[[str], float | None], now: float
) -> Iterator[tuple[Scheduled, float]]:
    """A slot that nobody opened for half a day is not opened any more."""
    for entry in entries:
        due, claimed = entry.last(now), newest(entry.name)
        if due is not None and (claimed is None or (due > claimed and now - due < 43_200.0)):
            yield entry, due


def cover_without_counting(newer: Candidate, older: Candidate) -> bool:
    """A backup of a tenth of the secrets replaces one of all of them."""
    return newer.values >= older.values and rules.covers(newer.selection, older.selection)


def end_the_grace_at_midnight(mark: DeletionMark, *, now: float) -> bool:
    """A marked backup may be deleted on the last day of its grace."""
    return mark.state == "marked" and mark.after[:10] <= rfc3339(now)[:10]


def read_the_newest_first(
    items: Sequence[DueContainer], terms: Terms, now: float, draw: Callable[[], float]
) -> list[DueContainer]:
    """A slice begins with the newest backups, whenever they were read."""
    ordered = sorted(items, key=lambda item: -item.made_at)
    return ordered[: order._count_due(sorted(items, key=lambda item: item.read_at(now)), terms, now)]


def trust_what_was_read_once(self: removal.Successors, target: Any, manifest: Any) -> str:
    """What replaces a backup is not read again before that one is deleted."""
    return ""


def read_schedules_as_utc(policy: Policy, now: float) -> float | None:
    """An alarm reads a policy's schedule as if its time zone were UTC."""
    return slots.last_slot(policy.schedule, now) if policy.schedule else None


class Bug(NamedTuple):
    """A wrong function in place of a real one, and the first seed that finds it."""

    place: Any
    name: str
    wrong: Callable[..., object]
    seed: int

    def planted(self) -> AbstractContextManager[object]:
        """Plant it while a block runs."""
        return patch.object(self.place, self.name, self.wrong)


PLANTED = {
    "slots": Bug(submit, "due_slots", forget_what_was_slept_through, 6),
    "retention": Bug(rules, "_covers", cover_without_counting, 13),
    "last good copy": Bug(removal.Successors, "_damage", trust_what_was_read_once, 6),
    "deletion": Bug(deletions, "is_over", end_the_grace_at_midnight, 1),
    "verification": Bug(order, "_slice", read_the_newest_first, 1),
    "alarms": Bug(freshness, "_last", read_schedules_as_utc, 2),
}


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("place", PLANTED)
def test_a_planted_bug_is_found_and_told_with_the_few_faults_that_it_needs(place: str) -> None:
    bug = PLANTED[place]
    found = first_broken(bug, range(bug.seed, LAST + 1))
    least = shrink(found, bug.planted)
    assert least.broken == found.broken
    assert len(least.faults) <= 1, str(least)
    assert str(least).startswith(f"seed {found.seed}, 20")
    assert not live(found.seed, least.faults, days=DAYS).broken, "without the bug nothing is wrong"


@pytest.mark.long
@pytest.mark.parametrize("place", PLANTED)
def test_a_bug_planted_in_a_year_is_found_within_50_seeds(place: str) -> None:
    assert first_broken(PLANTED[place], range(1, LAST + 1), days=365).broken


def first_broken(bug: Bug, seeds: Iterable[int], *, days: int = DAYS) -> Lived:
    """Live through seeds until a rule is broken."""
    lived = None
    for seed in seeds:
        with bug.planted():
            lived = live(seed, days=days)
        if lived.broken:
            return lived
    pytest.fail(f"not found: {lived}")
