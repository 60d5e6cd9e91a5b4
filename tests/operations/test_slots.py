"""Slots: whether a policy is due, decided once, whoever asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.operations.submit import Scheduled, last_slot, open_due
from strongroom.state.records import StepKind
from tests.operations.world import POLICY, World, make_world

DAY = 86_400.0
NOON = 1_767_268_800.0
"""2026-01-01T12:00:00Z."""

DAILY = [Scheduled(policy=POLICY, schedule="0 2 * * *")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def runs(world: World) -> int:
    return len(world.services().store.runs())


def test_the_newest_slot_is_the_last_time_that_the_expression_names() -> None:
    assert last_slot("0 2 * * *", NOON) == NOON - 10 * 3600
    assert last_slot("0 12 * * *", NOON) == NOON
    assert last_slot("1 12 * * *", NOON) == NOON - DAY + 60


def test_a_slot_makes_one_run_however_often_and_by_whomever_it_is_opened(world: World) -> None:
    assert len(open_due(world.services(), DAILY, now=NOON)) == 1
    assert open_due(world.services(), DAILY, now=NOON) == []
    assert open_due(world.services(), DAILY, now=NOON + 60) == []
    assert runs(world) == 1


def test_the_next_day_is_another_slot(world: World) -> None:
    open_due(world.services(), DAILY, now=NOON)
    assert len(open_due(world.services(), DAILY, now=NOON + DAY)) == 1


def test_slots_that_were_slept_through_run_once(world: World) -> None:
    open_due(world.services(), DAILY, now=NOON)
    open_due(world.services(), DAILY, now=NOON + 9 * DAY)
    assert runs(world) == 2


def test_a_clock_that_went_back_opens_nothing_again(world: World) -> None:
    open_due(world.services(), DAILY, now=NOON)
    assert open_due(world.services(), DAILY, now=NOON - 5 * DAY) == []
    assert runs(world) == 1


def test_a_future_slot_does_not_count(world: World) -> None:
    open_due(world.services(), DAILY, now=NOON)
    assert open_due(world.services(), DAILY, now=NOON + 13 * 3600) == []


def test_a_drill_takes_slots_of_its_own_and_waits_for_a_backup(world: World) -> None:
    drills = [Scheduled(policy=POLICY, schedule="0 3 * * *", objective_seconds=60)]
    assert open_due(world.services(), drills, now=NOON) == []
    world.back_up()
    assert [ticket.step.kind for ticket in open_due(world.services(), drills, now=NOON)] == [
        StepKind.DRILL_RESTORE
    ]
    assert open_due(world.services(), drills, now=NOON) == []
