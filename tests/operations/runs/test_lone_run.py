"""A run that one process drives alone goes on and ends as it does with the store of an installation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from strongroom.errors import SourceError
from strongroom.model import COMMAND, prepare
from strongroom.operations.engine import drive as driving
from strongroom.operations.engine import hooks, jobs, lone_run, steps
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.jobs import Ending, Job, Result, StepAction
from strongroom.operations.engine.lone_run import RECORD, LoneRecord, LoneStore, drive_alone, lone_services
from strongroom.operations.engine.services import RunLimits, Services
from strongroom.operations.engine.submit import submit
from strongroom.operations.restore.staged import RestoreOptions
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    Pool,
    Run,
    RunKind,
    RunState,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    Tally,
)
from tests.operations.world import make_world
from tests.targets.disks import small_disk

SPEC = Spec(
    kind=RunKind.RESTORE, policy=COMMAND, options=msgspec.to_builtins(RestoreOptions(destination="x"))
)


DONE = Ending(RunState.DONE)


class Did(Struct, frozen=True, kw_only=True):
    piece: int


prepare(Did)


class Three(Job):
    """Plans, restores three pieces in two waves, compares; fails where it is told to."""

    first = RunStep(StepKind.PLAN)

    def __init__(self, fails: str = "", outcome: Ending | Exception = DONE) -> None:
        self.fails, self.ends = fails, outcome
        self.did: list[str] = []
        self.actions: Mapping[StepKind, StepAction[Any]] = {  # type: ignore[misc]
            StepKind.PLAN: StepAction(self._do, Did, Pool.CONTROL),
            StepKind.RESTORE: StepAction(self._do, Did, Pool.RECOVER),
            StepKind.RESTORE_COMPARE: StepAction(self._do, Did, Pool.RECOVER, tolerated=True),
        }

    def _do(self, _run: Run, step: RunStep, _services: Services) -> Did:
        self.did.append(str(step))
        if str(step) == self.fails:
            raise SourceError("CANARY it does not answer")
        return Did(piece=step.piece)

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        done = tally.of(StepKind.RESTORE)
        if step.kind is StepKind.PLAN:
            return StepConsequence(follow=(RunStep(StepKind.RESTORE, 0), RunStep(StepKind.RESTORE, 1)))
        if tally.unsettled(StepKind.RESTORE):
            return StepConsequence()
        if step.kind is StepKind.RESTORE_COMPARE:
            return StepConsequence(follow=(RunStep(StepKind.REPORT),), facts={"compared": result is not None})
        third = RunStep(StepKind.RESTORE, 2) if done < 3 else RunStep(StepKind.RESTORE_COMPARE)
        return StepConsequence(follow=(third,), facts={"pieces": done})

    def outcome(self, run: Run, services: Services) -> Ending:
        if isinstance(self.ends, Exception):
            raise self.ends
        return self.ends


@pytest.fixture
def with_job(monkeypatch: pytest.MonkeyPatch) -> Callable[[Job], None]:
    def put(one: Job) -> None:
        for module in (jobs, steps, driving, hooks, lone_run):
            monkeypatch.setattr(module, "job_of", lambda kind: one)

    return put


CASES = {
    "all is well": Three,
    "the plan fails": lambda: Three("plan"),
    "a piece fails": lambda: Three("restore/1"),
    "the last piece fails": lambda: Three("restore/2"),
    "what it can do without fails": lambda: Three("restore-compare"),
    "it is degraded": lambda: Three(outcome=Ending(RunState.DEGRADED, "SourceError: some")),
    "its record does not fit": lambda: Three(outcome=RecordRefused("it is another one")),
}


@pytest.mark.parametrize("case", CASES)
def test_it_ends_as_with_the_store_of_an_installation(
    case: str, tmp_path: Path, with_job: Callable[[Job], None]
) -> None:
    ends = []
    for alone in (True, False):
        one = CASES[case]()
        with_job(one)
        if alone:
            store = LoneStore()
            run, _ = drive_alone(store, SPEC, lone_services(store, SPEC, state_dir=tmp_path))
            rows = store.rows(run.id)
        else:
            services = make_world(tmp_path / "world").services(limits=RunLimits(attempts=1))
            run = drive(*submit(services, SPEC), services, processes=1)
            rows = services.store.rows(run.id)
        told = {name: value for name, value in run.facts.items() if not name.startswith("record")}
        facts = msgspec.json.decode(msgspec.json.encode(told))  # as it lies in either record
        became = [(str(row.step), row.state, row.error) for row in rows]
        ends.append((run.state, run.error, facts, one.did, became))
    assert ends[0] == ends[1]


def test_what_a_step_failed_of_is_handed_on_as_it_was_raised(
    tmp_path: Path, with_job: Callable[[Job], None]
) -> None:
    with_job(Three("restore/0"))
    store = LoneStore()
    run, error = drive_alone(store, SPEC, lone_services(store, SPEC, state_dir=tmp_path))
    assert run.state is RunState.FAILED
    assert isinstance(error, SourceError)
    assert error.message == "CANARY it does not answer"


def test_one_that_somebody_ends_is_cancelled_on_record_and_sweeps_what_it_left(
    tmp_path: Path, with_job: Callable[[Job], None]
) -> None:
    class Ended(Three):
        swept = False

        def _do(self, run: Run, step: RunStep, services: Services) -> Did:
            if step == RunStep(StepKind.RESTORE, 1):
                raise KeyboardInterrupt
            return super()._do(run, step, services)

        def sweep(self, run: Run, services: Services) -> dict[str, str]:
            self.swept = True
            return {}

    one = Ended()
    with_job(one)
    store = LoneStore(lambda run: tmp_path)
    run, error = drive_alone(store, SPEC, lone_services(store, SPEC, state_dir=tmp_path))
    assert isinstance(error, KeyboardInterrupt)
    assert (run.state, run.error, one.did, one.swept) == (
        RunState.CANCELLED,
        "restore/1: interrupted",
        ["plan", "restore/0"],
        True,
    )
    kept = msgspec.json.decode((tmp_path / RECORD).read_bytes(), type=LoneRecord)
    assert kept.run.state is RunState.CANCELLED


def test_what_fails_after_the_first_failure_is_noted_on_it(
    tmp_path: Path, with_job: Callable[[Job], None]
) -> None:
    class Twice(Three):
        def _do(self, _run: Run, step: RunStep, _services: Services) -> Did:
            raise SourceError(f"CANARY {step}", hint="Look there.")

        def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
            first = step.kind is StepKind.RESTORE_COMPARE and not step.piece
            return StepConsequence(
                follow=(RunStep(StepKind.RESTORE_COMPARE, 1) if first else RunStep(StepKind.REPORT),)
            )

    one = Twice()
    one.first = RunStep(StepKind.RESTORE_COMPARE, 0)  # type: ignore[misc]
    del one.actions[StepKind.PLAN]  # type: ignore[attr-defined]
    with_job(one)
    store = LoneStore()
    _, error = drive_alone(store, SPEC, lone_services(store, SPEC, state_dir=tmp_path))
    assert isinstance(error, SourceError)
    assert (error.message, error.__notes__) == (
        "CANARY restore-compare/0",
        ["CANARY restore-compare/1. Look there."],
    )


def test_its_record_lies_in_its_folder_as_long_as_there_is_one(
    tmp_path: Path, with_job: Callable[[Job], None]
) -> None:
    with_job(Three())
    store = LoneStore(lambda run: tmp_path)
    run, _ = drive_alone(store, SPEC, lone_services(store, SPEC, state_dir=tmp_path))
    kept = msgspec.json.decode((tmp_path / RECORD).read_bytes(), type=LoneRecord)
    assert (kept.run.id, kept.run.state) == (run.id, RunState.DONE)
    assert (tmp_path / RECORD).stat().st_mode & 0o077 == 0
    assert [str(row.step) for row in kept.steps if row.step.kind is StepKind.REPORT] == ["report"]


@pytest.mark.parametrize("size", [0, 4096], ids=["another thing has its name", "a full disk"])
def test_a_record_that_cannot_be_written_ends_no_run(
    size: int, tmp_path: Path, with_job: Callable[[Job], None]
) -> None:
    with_job(Three())
    folder = tmp_path / "undo"
    folder.mkdir()
    with small_disk(folder, size=size) if size else nullcontext(True) as there:
        if size and there:
            (folder / "full").write_bytes(bytes(size))
        elif not size:
            (folder / RECORD).mkdir()
        store = LoneStore(lambda run: folder)
        run, error = drive_alone(store, SPEC, lone_services(store, SPEC, state_dir=tmp_path))
    assert (run.state, error) == (RunState.DONE, None)
