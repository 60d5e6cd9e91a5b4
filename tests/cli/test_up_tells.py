"""What ``up`` says of runs, in one line each."""

from __future__ import annotations

from typing import Any

import pytest

from strongroom.cli.commands.runs.cluster import RunReporter
from strongroom.cli.terminal.output import Output

AT = "2026-11-28T01:00:00.000+00:00"


def line(event: str, **fields: Any) -> dict[str, Any]:
    about = {"run": "r1", "kind": "backup", "policy": "full", "step": "", "error_class": "", "slot": ""}
    return {"at": AT, "event": event, **about, **fields}


def test_a_run_begins_once_and_why_and_waits_once_for_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    tell = RunReporter(Output())
    for _ in range(2):  # a message comes twice, and a step looks again each minute
        tell(line("run-begun", slot="policy full"))
        tell(line("step-waits", step="upload/0/eu", error_class="TargetFull"))
    tell(line("step-waits", step="upload/0/eu", error_class="TargetUnavailable"))
    tell(line("run-begun", run="r2"))
    tell(line("run-done", seconds=3.0))
    tell(line("connection-ended"))
    assert capsys.readouterr().err.splitlines() == [
        "2026-11-28T01:00:00Z backup of 'full': begins, policy full is due (r1)",
        "2026-11-28T01:00:00Z run r1 waits at upload/0/eu: TargetFull. See 'strongroom runs show r1'.",
        "2026-11-28T01:00:00Z run r1 waits at upload/0/eu: TargetUnavailable. See 'strongroom runs show r1'.",
        "2026-11-28T01:00:00Z backup of 'full': begins, somebody asked for it (r2)",
        "2026-11-28T01:00:00Z backup of 'full': done in 3.0 s (r1)",
    ]


def test_a_changed_file_that_is_refused_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    tell = RunReporter(Output())
    file = {"file": "strongroom.toml", "sha256": "aa"}
    for _ in range(3):  # each process sees the same file
        tell(line("settings-refused", **file, why="policies.full.keeep: unknown key"))
    tell(line("settings-wait-for-restart", **file | {"sha256": "bb"}, sections="broker"))
    wrong, waits = capsys.readouterr().err.splitlines()
    assert "the changed strongroom.toml is wrong, so the settings before it stay in force: " in wrong
    assert wrong.endswith("policies.full.keeep: unknown key. 'strongroom check config' shows all.")
    assert waits.endswith("the changed strongroom.toml waits for a restart of 'strongroom up' (broker)")


def test_of_a_run_that_failed_the_class_is_told_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    tell = RunReporter(Output())
    tell(line("run-failed", step="capture", target="", error_class="DuplicateSecret"))
    tell(line("run-degraded", step="upload", target="eu", error_class="TargetUnavailable"))
    tell(line("run-degraded", step="report", target="", error_class="RunDegraded"))
    assert capsys.readouterr().err.splitlines() == [
        f"warning: 2026-11-28T01:00:00Z backup of 'full': {how}. 'strongroom runs show r1' says why."
        for how in (
            "FAILED at capture: DuplicateSecret",
            "degraded at upload (eu): TargetUnavailable",
            "degraded: RunDegraded",
        )
    ]


def test_a_name_of_others_begins_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell = RunReporter(Output())
    tell(line("run-begun", policy="full\nThe cluster has stopped.", slot="x\x1b[2J"))
    [said] = capsys.readouterr().err.splitlines()
    assert said.isprintable()
