"""A result or a fact that somebody replaced in the state database is refused, never a traceback."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from strongroom.operations.archive.removal import left_unlocked
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.drills.facts import DrillOptions
from strongroom.operations.drills.job import submit_drill
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.findings import FindingState
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions
from strongroom.operations.rotation.job import submit_rotation
from strongroom.sources.local import LocalStore
from strongroom.state.records import Run, RunState, StepKind, Ticket
from tests.operations.judge.test_on_record import facts, judged
from tests.operations.world import POLICY, World, make_world, names_on

ODD: list[Any] = [5, [], {}, {"depth": "CANARY", "backup": None, "restore": 7}, {"depth": None}, "CANARY"]

SUBMIT: dict[str, Callable[[Services, str], Submitted]] = {
    "verify": lambda services, backup: submit_verify(services, backup=backup),
    "repair": lambda services, backup: submit_repair(services, backup=backup),
    "restore": lambda services, backup: submit_restore(
        services, backup=backup, options=RestoreOptions(destination="scratch")
    ),
    "drill": lambda services, _: submit_drill(
        services, policy=POLICY, options=DrillOptions(objective_seconds=60.0)
    ),
    "rotate": lambda services, _: submit_rotation(services, policy=POLICY),
}
LAST = {
    "verify": ("steps", "result", "verify"),
    "repair": ("steps", "result", "verify"),
    "restore": ("runs", "facts.restore_compare", "restore-compare"),
    "drill": ("runs", "facts.drill-compare", "drill-live"),
    "rotate": ("steps", "result", "rewrap"),
}


def edit(world: World, run: str, place: tuple[str, str, str], odd: Any) -> None:
    """Change a result or a fact behind the product's back."""
    table, column, kind = place
    with sqlite3.connect(world.folder / "state.db") as connection:
        if table == "steps":
            where = "run = ? AND kind = ? AND result IS NOT NULL"
            connection.execute(f"UPDATE steps SET result = ? WHERE {where}", (json.dumps(odd), run, kind))
        else:
            path = f'$."{column.removeprefix("facts.")}"'
            change = "facts = json_set(facts, ?, json(?))"
            connection.execute(f"UPDATE runs SET {change} WHERE id = ?", (path, json.dumps(odd), run))


def run_edited_after(kind: StepKind, services: Services, made: Submitted, edits: Callable[[], None]) -> Run:
    def watch(ticket: Ticket) -> None:
        if ticket.step.kind is kind:
            edits()

    return drive(*made, services, processes=1, watch=watch)


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("odd", [value for value in ODD if isinstance(value, dict)], ids=repr)
@pytest.mark.parametrize("kind", SUBMIT)
def test_a_run_whose_result_was_replaced_fails_and_says_of_what(
    tmp_path: Path, kind: str, odd: dict[str, Any]
) -> None:
    world = make_world(tmp_path, pieces=1)
    backup = world.back_up().id
    services = replace(world.services(), destinations={"scratch": LocalStore(tmp_path / "scratch")})
    made = SUBMIT[kind](services, backup)
    edits = lambda: edit(world, made[0], LAST[kind], odd)  # noqa: E731
    ended = run_edited_after(StepKind(LAST[kind][2]), services, made, edits)
    told = [str(event.detail["error"]) for event in services.store.events(run=made[0], kind="step.failed")]
    if (kind, odd) == ("rotate", {}):  # an empty result is none: what no row tells of was not rotated
        assert (ended.state, "not looked at" in str(ended.error)) == (RunState.DEGRADED, True)
        return
    assert (ended.state, str(ended.error).partition(":")[0]) == (RunState.FAILED, "RecordRefused"), (
        ended.error
    )
    assert [error.partition(":")[0] for error in told] == ["RecordRefused"]
    assert "CANARY" not in str(ended.error)


@pytest.mark.parametrize("odd", [{"staged": 5}, {"staged": "CANARY-other"}, {}], ids=repr)
def test_a_capture_whose_result_was_replaced_is_refused_and_nothing_stays_on_the_stage(
    tmp_path: Path, odd: dict[str, Any]
) -> None:
    world = make_world(tmp_path, pieces=1)
    services = world.services()
    made = submit_backup(services, policy=POLICY)
    edits = lambda: edit(world, made[0], ("steps", "result", "capture"), odd)  # noqa: E731
    ended = run_edited_after(StepKind.CAPTURE, services, made, edits)
    assert ended.state is RunState.FAILED
    assert any("RecordRefused" in (row.error or "") for row in services.store.rows(made[0], StepKind.UPLOAD))
    assert names_on(services.stage) == []


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_an_odd_fact_of_an_earlier_run_removes_nothing_of_its_backup_and_keeps_no_sweep_from_its_end(
    tmp_path: Path, odd: Any
) -> None:
    world = make_world(tmp_path, pieces=1)
    good = world.back_up()
    before = {name: names_on(target) for name, target in world.targets.items()}
    edit(world, good.id, ("runs", "facts.manifest", ""), odd)
    edit(world, good.id, ("runs", "facts.unplaced", ""), 5)
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE runs SET remains = 1")
    ended = world.back_up()
    assert (ended.state, ended.facts["report"]["swept"]) == (RunState.DONE, [good.id])
    after = {name: names_on(target) for name, target in world.targets.items()}
    assert all(set(before[name]) <= set(after[name]) for name in before)


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_health_tells_of_a_drill_whose_record_is_odd(tmp_path: Path, odd: Any) -> None:
    world = make_world(tmp_path, pieces=1)
    world.back_up()
    services = world.services()
    run = drive(
        *submit_drill(services, policy=POLICY, options=DrillOptions(objective_seconds=60.0)),
        services,
        processes=1,
    )
    edit(world, run.id, ("runs", "facts.drill-restore", ""), odd)
    [finding] = judged(facts(services), "drill.failed")
    assert finding.state is FindingState.WRONG
    assert "what is on record of its time cannot be read" in finding.what


@pytest.mark.parametrize("odd", [value for value in ODD if value != {}], ids=repr)
def test_what_is_not_locked_is_told_by_the_records_that_can_be_read(tmp_path: Path, odd: Any) -> None:
    world = make_world(tmp_path, pieces=1)
    other, backup = world.back_up().id, world.back_up().id
    edit(world, backup, ("runs", "facts.unlocked", ""), odd)
    edit(world, other, ("runs", "facts.unlocked", ""), {"us": "it was away"})
    assert left_unlocked(world.services().store) == {other: {"us": "it was away"}}
