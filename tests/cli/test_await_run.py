"""Looking at a run that a cluster does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from strongroom.cli.shared import await_run, render_restore
from strongroom.cli.terminal.output import Output
from strongroom.operations.restore.facts import RestoreOptions, RunRestored
from strongroom.operations.restore.job import submit_restore
from strongroom.sources.memory import MemoryStore
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

    monkeypatch.setattr(await_run, "run_store", lambda: services.store)
    monkeypatch.setattr(await_run, "cluster_runs", lambda settings: True)
    monkeypatch.setattr(time, "sleep", press_ctrl_c)
    with pytest.raises(KeyboardInterrupt) as stopped:
        await_run.follow(Output(), run)
    (said,) = stopped.value.__notes__
    assert "it goes on" in said
    assert f"'strongroom status {run} --follow'" in said
    assert f"'strongroom cancel {run}'" in said


def test_a_restore_that_waits_before_it_writes_is_not_told_as_one_with_nothing_to_do() -> None:
    assert render_restore._done(RunRestored(backup="b1"), ended=False) == "nothing is written yet"
    assert render_restore._done(RunRestored(backup="b1"), ended=True) == "nothing was to be written"
