"""status --watch: what a person sees of the installation, on a terminal and in a pipe."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from strongroom.cli.commands.runs import status
from strongroom.cli.terminal.screen import fitting
from strongroom.errors import UsageError
from strongroom.model import Depth
from strongroom.operations.engine.findings import Finding
from strongroom.operations.engine.muted import Muted, Silence
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    InstallationFacts,
    NewestOnTarget,
    Policy,
    Running,
    RunPace,
)
from strongroom.operations.judge.kinds import wrong
from strongroom.state.records import RunKind, RunState, StepKind, StepState, Waiting
from tests.cli.program import REGIONS, Machine, command
from tests.cli.terminal import Terminal

NOW = 1_790_000_000.0
LEAVES = "\x1b[?1049l"


def test_a_backup_that_is_made_meanwhile_is_drawn_and_q_ends_the_look(configured: Machine) -> None:
    with Terminal(configured, "runs", "--watch", size=(40, 120)) as person:
        person.await_words("QUEUES")
        configured.ok("backup", "--policy", "full", "--force")
        for name in REGIONS:
            person.await_words(name.upper())
        person.await_words("good, read to digest")
        person.type("q")
        assert person.end() == 0
    assert person.drawn.rstrip().endswith(LEAVES), "the terminal shows what it showed before"
    assert "\x1b[1m" not in person.drawn, "NO_COLOR"


def test_ctrl_c_ends_the_look_with_0_as_the_way_out_that_it_is(configured: Machine) -> None:
    with Terminal(configured, "runs", "--watch", size=(40, 120), colour=True) as person:
        person.await_words("ALERTS")
        person.type("\x03")
        assert person.end() == 0
    assert LEAVES in person.drawn
    assert "interrupted" not in person.said
    assert "\x1b[1mPOLICIES\x1b[0m" in person.drawn


def test_a_narrow_and_low_terminal_gets_no_line_that_is_wider_or_lower(configured: Machine) -> None:
    with Terminal(configured, "runs", "--watch", size=(9, 40)) as person:
        person.await_words("more: the terminal is too low")
        person.type("q")
        assert person.end() == 0
    first = person.drawn.split("\x1b[H")[1]
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in first.split("\n")]
    assert len(lines) == 9
    assert max(len(line.rstrip("\r")) for line in lines) <= 40
    assert any(line.strip().startswith("POLICY") for line in lines), "each cell has a line of its own"


@contextmanager
def piped(machine: Machine) -> Iterator[subprocess.Popen[str]]:
    watching = subprocess.Popen(
        command("runs", "--watch"),
        cwd=machine.home,
        env=machine.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield watching
    finally:
        watching.kill()
        watching.communicate()


def line_about(watching: subprocess.Popen[str], words: str) -> str:
    """Wait for a line."""
    assert watching.stdout is not None
    return next(line for line in watching.stdout if words in line)


def test_a_pipe_gets_a_line_for_each_change_and_none_without(configured: Machine) -> None:
    with piped(configured) as watching:
        assert line_about(watching, "in all").endswith("in all: 2 policies, 0 active runs, 0 alerts\n")
        configured.ok("backup", "--policy", "full", "--force")
        line = line_about(watching, "'full' on 'dublin': good, read to digest")
        assert re.fullmatch(r"\S+ \S+ UTC  'full' on 'dublin': good, read to digest\n", line)
        watching.send_signal(signal.SIGINT)
        rest, said = watching.communicate()
    assert (watching.returncode, said) == (0, "")
    assert "\x1b" not in rest
    assert ": over" not in rest, "a run is done, or failed"
    assert rest.count("'full' on 'dublin'") == 0, "nothing changed"


def test_a_look_at_one_run_or_by_a_machine_is_another_command(configured: Machine) -> None:
    for words in (("--json",), ("some-run",), ("--follow",)):
        assert configured.run("runs", "--watch", *words).failed_with(UsageError)


HOSTILE = "evil\x1b[2J\nALERTS\u202e"


def installation() -> InstallationFacts:
    replica = NewestOnTarget(target=HOSTILE, good=True, depth=Depth.DIGEST)
    pace = RunPace(unit="step", done=37, total=100, rate=2.0, left=31.5)
    run = Running(
        run="r1",
        state=RunState.ACTIVE,
        began=NOW - 9,
        ended=None,
        kind=RunKind.BACKUP,
        policy=HOSTILE,
        pace=pace,
    )
    waits = Running(
        run="r2",
        state=RunState.ACTIVE,
        began=NOW - 9,
        ended=None,
        kind=RunKind.RESTORE,
        policy="p",
        pace=pace,
        waits_for_approval=True,
    )
    steps = (
        Waiting(kind=StepKind.UPLOAD, state=StepState.READY, steps=7, since=NOW - 90),
        Waiting(kind=StepKind.UPLOAD, state=StepState.RUNNING, steps=2, since=NOW - 5),
    )
    policy = Policy(name=HOSTILE, on_targets=(replica, NewestOnTarget(target="us", good=False)), wanted=2)
    return InstallationFacts(now=NOW, policies=(policy,), active=(run, waits), waiting=steps)


def shown(
    facts: InstallationFacts, *alerts: Finding, muted: Muted | None = None, width: int = 200
) -> list[str]:
    return status.glance_lines(facts, alerts, muted or Muted(), limits=AlertLimits(), width=width)


def test_names_of_others_move_no_cursor_begin_no_line_and_turn_no_order() -> None:
    alert = wrong("backup.failed", HOSTILE, what=f"policy {HOSTILE} failed")
    for width in (30, 200):
        lines = shown(installation(), alert, width=width)
        assert all(line.isprintable() for line in lines)
        assert [line for line in lines if line and line[0] != " "] == [
            "ALERTS",
            "POLICIES",
            "RUNNING",
            "QUEUES",
        ]
    said = status.changes_of(installation(), [alert], Muted())
    assert all(words.isprintable() for pair in said.items() for words in pair)


def test_a_low_terminal_cuts_off_anything_before_the_worst_alert() -> None:
    alert = wrong("backup.failed", "p", what="it failed")
    lines = fitting(shown(installation(), alert), width=80, height=5)
    assert any(line.endswith("critical: it failed") for line in lines)


def test_what_runs_is_told_with_its_rate_and_what_is_left_and_queues_with_their_oldest() -> None:
    lines = "\n".join(shown(installation()))
    assert re.search(r"r1 .*37 of 100 steps +2\.0 steps/s +32 s", lines)
    assert re.search(r"r2 .*waits for approval", lines)
    assert re.search(r"transfer +7 +2 +90 seconds", lines)
    assert "BAD" in lines
    assert status.changes_of(installation(), [], Muted())["run r2"].endswith("waits for approval")
    assert status.changes_of(installation(), [], Muted())["run r1"].endswith(", 30 % done, 32 s left")


def test_a_silenced_alert_is_shown_as_one() -> None:
    alert = wrong("backup.failed", "p", what="it failed")
    silence = Silence(id="s", pattern="backup.*", since=NOW, until=NOW + 9, by="me", reason="known")
    assert any(
        line.endswith("it failed (silenced)")
        for line in shown(InstallationFacts(now=NOW), alert, muted=Muted(silences=(silence,)))
    )


def test_a_state_database_that_does_not_answer_is_told_and_comes_back_as_a_change() -> None:
    away = InstallationFacts(now=NOW, state="it does not answer")
    assert shown(away) == ["The state database does not answer: it does not answer"]
    before, after = status.changes_of(away, [], Muted()), status.changes_of(installation(), [], Muted())
    assert ("the state database", "over") in status.said_of(before, after)


def test_lines_for_which_there_is_no_room_are_counted() -> None:
    assert fitting(["a", "b", "c"], width=9, height=3) == ["a", "b", "c"]
    assert fitting(["a", "b", "c", "d"], width=99, height=3) == [
        "a",
        "b",
        "… and 2 more: the terminal is too low",
    ]
    assert fitting(["abcdef"], width=4, height=3) == ["abc…"]


def test_only_what_differs_is_said() -> None:
    before = {"a": "1", "b": "1", "c": "1"}
    said = status.said_of(before, {"a": "1", "b": "2", "d": "1"})
    assert list(said) == [("b", "2"), ("d", "1"), ("c", "over")]
