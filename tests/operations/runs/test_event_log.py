"""What the log is told of steps and runs: one line for each run that ends, with fields."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NoReturn

import pytest

from strongroom.errors import TargetError
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.jobs import job_of
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import recover
from strongroom.sources.errors import SourceUnavailable
from strongroom.state.records import Run, RunKind, RunState, StepKind
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import POLICY, World, make_world
from workers.logs import JsonLines

CANARY = "CANARY-in-a-message"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="strongroom.operations.engine.run_log")
    return caplog


def named(lines: pytest.LogCaptureFixture, *events: str) -> list[dict[str, Any]]:
    return [record.__dict__ for record in lines.records if record.message in events]


def run_here(services: Services) -> Run:
    """Perform a backup in this process, whose log the test reads."""
    run, tickets = submit_backup(services, policy=POLICY)
    return drive(run, tickets, services, processes=1)


def planted(monkeypatch: pytest.MonkeyPatch, kind: StepKind, error: Exception) -> None:
    """Have each attempt at a kind of step raise an error."""

    def fail(*_: object) -> NoReturn:
        raise error

    actions = job_of(RunKind.BACKUP).actions
    monkeypatch.setitem(actions, kind, actions[kind]._replace(perform=fail))  # type: ignore[arg-type]


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return make_world(tmp_path, pieces=2).services()


def test_a_run_that_is_done_is_one_line_at_info(services: Services, lines: pytest.LogCaptureFixture) -> None:
    run = run_here(services)
    (line,) = named(lines, "run-done", "run-failed", "run-degraded")
    assert (line["levelname"], line["run"], line["policy"], line["kind"]) == (
        "INFO",
        run.id,
        POLICY,
        "backup",
    )


def test_a_run_that_fails_of_what_was_expected_is_one_error_with_its_exception(
    services: Services, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch, StepKind.CAPTURE, SourceUnavailable("the source does not answer"))
    run = run_here(services)
    assert run.state is RunState.FAILED
    (line,) = [record for record in lines.records if record.levelno >= logging.ERROR]
    assert line.message == "run-failed"
    assert (line.run, line.policy, line.step) == (run.id, POLICY, "capture")  # type: ignore[attr-defined]
    assert line.error_class == "SourceUnavailable"  # type: ignore[attr-defined]
    assert line.exc_info is not None
    assert isinstance(line.exc_info[1], SourceUnavailable)
    assert {found["levelname"] for found in named(lines, "step-failed")} == {"WARNING"}


def test_a_fault_of_our_own_is_one_error_however_many_pieces_and_attempts_it_costs(
    services: Services, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch, StepKind.CAPTURE, ValueError(CANARY))
    run_here(services)
    (line,) = [record for record in lines.records if record.levelno >= logging.ERROR]
    assert (line.message, line.error_class) == ("run-failed", "ValueError")  # type: ignore[attr-defined]
    assert line.exc_info is not None
    assert isinstance(line.exc_info[1], ValueError)
    assert len(named(lines, "step-crashed")) >= 5
    assert CANARY not in "".join(map(JsonLines("seal").format, lines.records))


def test_a_quorum_that_is_not_met_is_one_error_with_an_exception_of_its_own(
    services: Services, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch, StepKind.UPLOAD, TargetError("the target refused"))
    assert run_here(services).state is RunState.FAILED
    (line,) = [record for record in lines.records if record.levelno >= logging.ERROR]
    assert (line.message, line.error_class) == ("run-failed", "QuorumNotMet")  # type: ignore[attr-defined]
    assert line.exc_info is not None


class Refusing(MemoryTarget):
    """A target that takes nothing."""

    def put(self, *_: object, **__: object) -> NoReturn:
        raise TargetError("the target refused")


def test_a_degraded_run_is_a_warning_that_names_step_target_and_class(
    tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    world: World = make_world(tmp_path, pieces=1)
    services = world.services(targets={**world.targets, "us": Refusing(name="us", region="us")})
    assert run_here(services).state is RunState.DEGRADED
    (line,) = named(lines, "run-degraded")
    assert (line["levelname"], line["step"], line["target"], line["error_class"]) == (
        "WARNING",
        "upload",
        "us",
        "TargetError",
    )


def test_a_run_whose_workers_all_died_is_told_by_whoever_notices(
    services: Services, lines: pytest.LogCaptureFixture
) -> None:
    run, [planning] = submit_backup(services, policy=POLICY)
    for _ in range(5):
        assert services.store.claim(planning, owner="dead", lease=-1.0) is not None
        recover(services)
        planning = next(iter(services.store.take_ready(run, window=1)), planning)
    (line,) = named(lines, "run-failed")
    assert (line["run"], line["step"], line["levelname"]) == (run, "plan", "ERROR")
