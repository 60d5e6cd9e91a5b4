"""What a person at a terminal sees while something takes its time."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from strongroom.cli.terminal.screen import bars, pace_words
from tests.cli.program import Machine
from tests.cli.terminal import Terminal


def test_a_restore_shows_what_it_does_and_that_it_compares_afterwards(
    configured: Machine, other: Machine
) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    configured.ok("secrets", "delete", "DATABASE_PASSWORD", "--force")
    words = ("restore", "--full-restore", "--identity", "recovery.key", "--verify-after-restore")
    with Terminal(configured, *words, size=(40, 120)) as person:
        assert person.end() == 0, person.said
    assert "restoring" in person.said
    assert "comparing" in person.said
    assert "3/3" in person.said


def test_a_plan_shows_that_it_compares(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    words = ("restore", "--full-restore", "--identity", "recovery.key", "--dry-run")
    with Terminal(configured, *words, size=(40, 120)) as person:
        assert person.end() == 0, person.said
    assert "comparing" in person.said


@pytest.mark.parametrize(("columns", "drawn"), [("120", True), ("60", False)])
def test_a_bar_says_how_fast_it_goes_and_has_room_for_that(
    columns: str, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    progress = bars()
    progress.add_task("reading back", total=100, completed=40, pace=pace_words(12.4, 5.0))
    shown = io.StringIO()
    Console(file=shown, width=int(columns)).print(progress.get_renderable())
    [line] = shown.getvalue().splitlines()
    assert "reading back" in line
    assert "40/100" in line
    assert line.rstrip().endswith("12/s, 5 s left")
    assert ("━" in line) == drawn


def test_what_nobody_knows_is_not_said() -> None:
    assert pace_words(None, None) == ""
    assert pace_words(0.25, None) == "0.2/s"
    assert pace_words(1234.5, 90 * 60) == "1,234/s, 90 min left"
