"""A job is a value: the engine knows none by name, and a new one is a file and a line in the table."""

from __future__ import annotations

import ast
import json
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import msgspec
import pytest
from msgspec import Struct

from strongroom.cli.shared.render_run import as_document, parts_of
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.jobs import (
    JOBS,
    Ending,
    Job,
    Result,
    RunAccount,
    StepAction,
    decide,
    is_signed,
    job_of,
    read_facts,
    to_facts,
)
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import perform
from strongroom.operations.engine.submit import retry, submit
from strongroom.sheet import Sheet
from strongroom.state.records import (
    Pool,
    Run,
    RunKind,
    RunState,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    StepState,
    Tally,
    Ticket,
)
from tests.operations.world import POLICY, make_world

ROOT = Path(__file__).parents[3] / "strongroom/operations"


class Counted(Struct, frozen=True, kw_only=True):
    """What the tiny job's only step returns."""

    targets: int


class CountFacts(Struct, frozen=True, kw_only=True):
    """What is known of the tiny job's run."""

    counted: Counted | None = None


def count(run: Run, step: RunStep, services: Services) -> Counted:
    """Count the targets of the run's policy: all that the tiny job does."""
    if run.spec.options.get("fails"):
        raise ValueError("CANARY-in-a-step")
    return Counted(targets=len(run.spec.targets))


class CountJob(Job):
    """A job that no room has: it counts targets."""

    first = RunStep(StepKind.RESTORE)
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.RESTORE: StepAction(count, Counted, Pool.RECOVER, tolerated=True)
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:  # noqa: ARG002
        facts = {} if result is None else to_facts(CountFacts(counted=result))  # type: ignore[arg-type]
        return StepConsequence(facts=facts, follow=(RunStep(StepKind.REPORT),))

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:  # noqa: ARG002
        return "nothing was counted for good"

    def account(self, run: Run, rows: Sequence[StepRow]) -> RunAccount:  # noqa: ARG002
        counted = read_facts(run, CountFacts).counted
        return RunAccount((("counted", counted and counted.targets),), {"counted": counted is not None})

    def outcome(self, run: Run, services: Services) -> Ending:  # noqa: ARG002
        if read_facts(run, CountFacts).counted is None:
            return Ending(RunState.DEGRADED, "nothing was counted")
        return Ending(RunState.DONE)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> RunKind:
    """Put the tiny job into the table: one file, and one line."""
    module = ModuleType("tiny_job")
    module.JOB = CountJob()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiny_job", module)
    monkeypatch.setitem(JOBS, RunKind.RESTORE, "tiny_job")
    return RunKind.RESTORE


def begun(folder: Path, kind: RunKind) -> tuple[Services, list[Ticket]]:
    world = make_world(folder)
    services = world.services()
    _, tickets = submit(services, Spec(kind=kind, policy=POLICY, targets=world.spec.targets))
    return services, tickets


def edit(folder: Path, where: str, **column: Any) -> None:
    """Change a column behind the product's back."""
    [(name, value)] = column.items()
    table, _, condition = where.partition(" WHERE ")
    stored = value if isinstance(value, str) else json.dumps(value)
    with sqlite3.connect(folder / "state.db") as connection:
        connection.execute(f"UPDATE {table} SET {name} = ? WHERE {condition or '1'}", (stored,))


def run_tiny(folder: Path, kind: RunKind, **options: bool) -> tuple[Services, Run]:
    world = make_world(folder)
    services = world.services()
    spec = Spec(kind=kind, policy=POLICY, targets=world.spec.targets, options=options)
    run, tickets = submit(services, spec)
    return services, drive(run, tickets, services, processes=1)


def test_a_new_job_runs_to_its_end(tmp_path: Path, tiny: RunKind) -> None:
    services, run = run_tiny(tmp_path, tiny)
    assert (run.state, run.facts["counted"]) == (RunState.DONE, {"targets": 3})
    assert {row.step.kind for row in services.store.rows(run.id)} == {StepKind.RESTORE, StepKind.REPORT}


def test_a_new_job_tells_its_own_runs(tmp_path: Path, tiny: RunKind) -> None:
    services, run = run_tiny(tmp_path, tiny)
    rows = services.store.rows(run.id)
    assert any(line.split() == ["counted", "3"] for line in told(run, rows))
    assert as_document(run, rows)["counted"] is True
    assert any("nothing was counted for good" in line for line in told(run, rows, abandoned="go on"))


def test_a_run_whose_facts_are_odd_is_told_of_all_the_same(tmp_path: Path, tiny: RunKind) -> None:
    services, run = run_tiny(tmp_path, tiny)
    odd = msgspec.structs.replace(run, facts={"counted": "CANARY-three"})
    rows = services.store.rows(run.id)
    assert told(odd, rows)[0] == f"restore run {run.id}: done"
    assert "counted" not in as_document(odd, rows)


def test_a_new_job_decides_on_a_step_that_it_can_do_without(tmp_path: Path, tiny: RunKind) -> None:
    services, run = run_tiny(tmp_path, tiny, fails=True)
    assert (run.state, run.error) == (RunState.DEGRADED, "nothing was counted")
    assert services.store.row(run.id, RunStep(StepKind.RESTORE)).state is StepState.MISSED


def test_a_new_job_may_refuse_to_be_retried(
    tmp_path: Path, tiny: RunKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("not this one")

    monkeypatch.setattr(CountJob, "check_retry", refuse)
    services, run = run_tiny(tmp_path, tiny)
    with pytest.raises(PermissionError, match="not this one"):
        retry(services, run.id)


@pytest.mark.parametrize("odd", [{"targets": "CANARY-odd"}, {}, [], {"targets": None}], ids=repr)
def test_facts_that_do_not_fit_their_record_fail_the_run_without_a_traceback(
    tmp_path: Path, tiny: RunKind, odd: Any
) -> None:
    """Whoever writes to the state database can put anything there."""
    services, tickets = begun(tmp_path, tiny)
    [report] = perform(tickets[0], services)
    edit(tmp_path, "runs", facts={"counted": odd})
    assert perform(report, services) == []
    run = services.store.load(report.run)
    assert run.state is RunState.FAILED
    assert run.error == f"RecordRefused: the facts of run {run.id} are not those of a restore"
    told = [event.detail["error"] for event in services.store.events(run=run.id, kind="step.failed")]
    assert [str(error).startswith("RecordRefused") for error in told] == [True]


@pytest.mark.parametrize("odd", [{"targets": "CANARY-odd"}, {"targets": None}, {"other": 1}], ids=repr)
def test_a_result_that_does_not_fit_its_record_fails_a_retry_without_a_traceback(
    tmp_path: Path, tiny: RunKind, odd: dict[str, Any]
) -> None:
    """A retry decides anew on what is done, by its row."""
    services, tickets = begun(tmp_path, tiny)
    perform(tickets[0], services)
    edit(tmp_path, "runs", state="failed")
    edit(tmp_path, "steps WHERE kind = 'restore'", result=odd)
    run = services.store.retry(tickets[0].run, decide, first=())
    assert run.closing
    assert run.error == f"RecordRefused: the result of step restore of run {run.id} is not one of such a step"


def test_every_kind_of_run_has_a_job_whose_first_step_it_can_perform() -> None:
    assert set(JOBS) == set(RunKind)
    assert all(job_of(kind).first.kind in job_of(kind).actions for kind in RunKind)


def test_what_is_planned_is_signed() -> None:
    assert {kind for kind in RunKind if not is_signed(job_of(kind))} == {RunKind.CHECK}


def kinds_named_in(file: Path) -> set[str]:
    """Return the kinds of runs and of steps that a module names outside the table of jobs."""
    body = [node for node in ast.parse(file.read_text()).body if not _is_table(node)]
    attributes = [node for part in body for node in ast.walk(part) if isinstance(node, ast.Attribute)]
    named = {f"{node.value.id}.{node.attr}" for node in attributes if isinstance(node.value, ast.Name)}
    return {name for name in named if name.startswith(("RunKind.", "StepKind."))}


PERFORMS = ("drive", "hook_calls", "hooks", "jobs", "lone_run", "process_lock", "run_log", "steps", "submit")


def _is_table(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "JOBS"


def test_the_engine_names_no_kind_of_run_and_no_step_but_its_own() -> None:
    """The linter holds the imports; this holds the names. A hook and a report are the engine's own."""
    files = [ROOT / "engine" / f"{name}.py" for name in PERFORMS]
    assert set().union(*map(kinds_named_in, files)) == {"StepKind.HOOK", "StepKind.PLAN", "StepKind.REPORT"}


def told(run: Run, rows: list[StepRow], *, abandoned: str = "") -> list[str]:
    return Sheet(parts=list(parts_of(run, rows, abandoned=abandoned))).text().splitlines()
