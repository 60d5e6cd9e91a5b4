"""Looking at a run that a cluster does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from strongroom.cli.shared import runs
from strongroom.cli.shared.render_run import waiting_of
from strongroom.cli.terminal.output import Output
from strongroom.operations.restore import job
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions, RunRestored
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import RunStep, StepKind, StepRow, StepState
from tests.operations.world import make_world


def test_who_stops_looking_is_told_that_the_run_goes_on_and_what_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(tmp_path)
    services = world.services(destinations={"there": MemoryStore(name="there")})
    options = RestoreOptions(destination="there")
    run, _ = submit_restore(services, backup=world.back_up().id, options=options)

    def press_ctrl_c(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run_store", lambda: services.store)
    monkeypatch.setattr(runs, "cluster_runs", lambda settings: True)
    monkeypatch.setattr(time, "sleep", press_ctrl_c)
    with pytest.raises(KeyboardInterrupt) as stopped:
        runs.follow(Output(), run)
    (said,) = stopped.value.__notes__
    assert "it goes on" in said
    assert f"'strongroom runs show {run} --follow'" in said
    assert f"'strongroom runs cancel {run}'" in said


def test_a_restore_that_waits_before_it_writes_is_not_told_as_one_with_nothing_to_do() -> None:
    assert job._done(RunRestored(backup="b1"), ended=False) == "nothing is written yet"
    assert job._done(RunRestored(backup="b1"), ended=True) == "nothing was to be written"


def step(target: str, error: str | None, *, piece: int = 0, waits: bool = True) -> StepRow:
    return StepRow(
        step=RunStep(StepKind.UPLOAD, piece, target) if target else RunStep(StepKind.PLAN),
        state=StepState.READY,
        attempts=1,
        result=None,
        error=error,
        started_at=1.0,
        finished_at=None,
        waits_since=1.0 if waits else None,
    )


AWAY = "TargetUnavailable: target 'x' does not answer"


def test_that_every_target_is_away_is_said_as_such() -> None:
    waits = waiting_of([step("", None, waits=False), step("eu", AWAY), step("us", AWAY, piece=1)])

    assert waits is not None
    assert waits["error"] == "no target of this run answers (eu, us). The last good backup is untouched"
    assert "goes on once one does" in waits["to_do"]


@pytest.mark.parametrize(
    "other",
    [
        step("us", None, waits=False),
        step("us", "SourceUnavailable: no answer"),
        step("eu", None, waits=False),
    ],
    ids=["another is at work", "another waits for something else", "it has taken something"],
)
def test_as_long_as_one_target_may_answer_the_one_that_is_waited_for_is_named(other: StepRow) -> None:
    waits = waiting_of([step("eu", AWAY), other])

    assert waits is not None
    assert "target 'x' does not answer" in waits["error"]
