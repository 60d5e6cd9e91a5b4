"""ledger, as a person types it at a drill, off the printed kit."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from tests.cli.program import Machine
from tests.cli.test_emergency import house, mount  # noqa: F401 - a fixture


@pytest.fixture
def typed(house: Machine) -> list[str]:  # noqa: F811
    """What the kit says to type."""
    mount(house)
    house.ok("emergency-backup", "emergency", "--force")
    house.ok("recovery-kit", "--output", "kit.html")
    [command] = re.findall(
        r"strongroom (ledger check --id \d+ --sha256 [0-9a-f]{64})", house.path("kit.html").read_text()
    )
    return command.split()


def edit(house: Machine, statement: str) -> None:  # noqa: F811
    [file] = [path for path in Path(house.home).rglob("*.db") if path.name == "state.db"]
    with sqlite3.connect(file) as connection:
        assert connection.execute(statement).rowcount >= 1
    connection.close()


def test_what_the_kit_says_to_type_says_that_nothing_changed(house: Machine, typed: list[str]) -> None:  # noqa: F811
    house.ok("emergency-backup", "emergency", "--force")
    assert "it is what was printed" in house.ok(*typed).out
    *words, digest = typed
    spaced = [digest[at : at + 8].upper() for at in range(0, 64, 8)]
    found = house.ok(*words, *spaced, "--json").document
    assert found["printed"]["sha256"] == digest
    assert found["head"]["id"] > found["printed"]["id"]
    assert house.ok("ledger", "head", "--json").document["head"] == found["head"]


def test_a_change_and_a_cut_have_codes_of_their_own(house: Machine, typed: list[str]) -> None:  # noqa: F811
    edit(house, "UPDATE events SET at = at + 1 WHERE id = 1")
    changed = house.run(*typed)
    assert (changed.code, "not to what was printed" in " ".join(changed.err.split())) == (66, True)
    assert house.run("ledger", "check").code == 66
    house.ok("recovery-kit", "--output", "kit.html", "--force")
    assert "Event 1 had been changed" in house.path("kit.html").read_text()
    edit(house, "DELETE FROM events WHERE id > 1")
    assert house.run(*typed).code == 67


@pytest.mark.parametrize(
    "words", [["--id", "1"], ["--sha256", "0" * 64], ["--id", "1", "--sha256", "0" * 63]]
)
def test_half_a_head_is_refused(house: Machine, words: list[str]) -> None:  # noqa: F811
    assert house.run("ledger", "check", *words).code == 2
