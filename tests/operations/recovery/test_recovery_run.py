"""A recovery as a run: fit to recover or nothing is read, then all is restored, compared and validated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.errors import MissingPiece
from strongroom.model import SecretBytes
from strongroom.operations.checks import machine
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.findings import Finding, wrong
from strongroom.operations.engine.jobs import job_of
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted, retry
from strongroom.operations.procedures.recovery_job import recovery_facts_of, submit_recovery
from strongroom.operations.restore.staged import RestoreOptions, UndoOptions
from strongroom.operations.restore.undo_job import submit_undo
from strongroom.sources.local import LocalStore
from strongroom.state.records import Run, RunState, StepKind
from strongroom.system.errors import KeyFileExposed
from tests.operations.restore.test_restore_run import killed_often, world_on_disk
from tests.operations.restore.test_take_back import current
from tests.operations.world import POLICY, World, made_up, make_world

INTO = RestoreOptions(destination="there")
COUNT = 12


@pytest.fixture
def world(tmp_path: Path) -> World:
    return world_on_disk(tmp_path, COUNT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "there"


def serving(world: World, folder: Path) -> Services:
    return world.services(destinations={"there": LocalStore(folder, name="there")})


def finish(submitted: Submitted, services: Services) -> Run:
    return drive(*submitted, services, processes=1)


def kinds(run: Run, services: Services) -> list[StepKind]:
    return [row.step.kind for row in services.store.rows(run.id)]


def test_the_newest_backup_of_a_policy_is_recovered_compared_and_validated_and_can_be_undone(
    world: World, folder: Path
) -> None:
    world.back_up()
    newest = world.back_up().id
    services = serving(world, folder)
    run = finish(submit_recovery(services, backup=POLICY, options=INTO), services)
    facts = recovery_facts_of(run)
    assert (run.state, run.error, run.spec.backup) == (RunState.DONE, None, newest)
    assert facts.recovery_check is not None
    assert {one.check for one in facts.recovery_check.checks} >= {"keys", "swap", "clock", "destination"}
    assert facts.restore_compare is not None
    assert (facts.restore_compare.same, facts.restore_compare.differ) == (COUNT, 0)
    assert facts.recovery_validate is not None
    assert (facts.recovery_validate.secrets, facts.recovery_validate.wrong) == (COUNT, {})
    said = dict(job_of(run.spec.kind).account(run, services.store.rows(run.id)).pairs)
    assert str(said["validated"]).startswith(f"{COUNT} secrets, ")
    assert "good" in str(said["host"])
    undone = finish(submit_undo(services, options=UndoOptions(undoes=run.id)), services)
    assert undone.state is RunState.DONE
    assert current(folder) == {}


def test_on_a_host_that_is_not_fit_nothing_is_read_until_it_is(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exposed() -> Iterator[Finding]:
        yield wrong(
            "swap", KeyFileExposed("memory may be written to a disk in the clear", hint="Turn it off.")
        )

    backup, services = world.back_up().id, serving(world, folder)
    sound = machine.swap
    monkeypatch.setattr(machine, "swap", exposed)
    run = finish(submit_recovery(services, backup=backup, options=INTO), services)
    assert run.state is RunState.FAILED
    assert str(run.error).startswith("KeyFileExposed: the worker's host is not fit to recover, so nothing")
    assert StepKind.RESTORE_PLAN not in kinds(run, services)
    assert not folder.exists() or current(folder) == {}
    monkeypatch.setattr(machine, "swap", sound)
    retry(services, run.id)
    again = finish((run.id, services.store.take_ready(run.id, window=8)), services)
    assert (again.state, len(current(folder))) == (RunState.DONE, COUNT)


def test_what_came_back_as_it_was_and_was_wrong_before_the_loss_is_a_remark_and_not_named(
    tmp_path: Path, folder: Path
) -> None:
    first, *others = made_up(COUNT)
    version = replace(first.current, value=SecretBytes(b"changeme"))
    world = make_world(tmp_path, secrets=[replace(first, versions=(version,)), *others])
    world.back_up()
    services = serving(world, folder)
    run = finish(submit_recovery(services, backup=POLICY, options=INTO), services)
    facts = recovery_facts_of(run)
    assert facts.recovery_validate is not None
    assert (facts.recovery_validate.wrong, sum(facts.recovery_validate.remarks.values())) == ({}, 1)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert first.name not in str(run.error) + str(run.facts)


def test_killed_at_any_moment_it_ends_with_everything_back_and_validated(world: World, folder: Path) -> None:
    world.back_up()
    services = world.services(hands_out=False)
    recovery, _ = submit_recovery(services, backup=POLICY, options=INTO)
    killed_often(world, recovery, folder, [0, 2, 1])
    run = services.store.load(recovery)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert kinds(run, services).count(StepKind.RECOVERY_VALIDATE) == 1
    assert len(current(folder)) == COUNT


def test_a_policy_without_a_backup_recovers_nothing(world: World, folder: Path) -> None:
    with pytest.raises(MissingPiece):
        submit_recovery(serving(world, folder), backup=POLICY, options=INTO)
