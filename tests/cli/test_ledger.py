"""ledger, as a person types it at a drill, off the printed kit."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from strongroom.container.errors import UntrustedSigner
from strongroom.errors import UsageError
from strongroom.operations.errors import WarningsRaised
from strongroom.state.errors import LedgerChanged, LedgerCut, StateError
from strongroom.targets.errors import TargetUnavailable
from tests.cli.conftest import configure, stock
from tests.cli.furnished import Furnish, furnished
from tests.cli.program import Machine
from tests.cli.test_emergency import house, keep_house, mount  # noqa: F401 - a fixture


def print_kit(house: Machine) -> list[str]:  # noqa: F811
    """Return what the kit says to type."""
    mount(house)
    house.ok("emergency", "backup", "emergency", "--force")
    house.ok("emergency", "kit", "--output", "kit.html")
    [command] = re.findall(
        r"strongroom (ledger check --id \d+ --sha256 [0-9a-f]{64})", house.path("kit.html").read_text()
    )
    return command.split()


@pytest.fixture
def typed(house: Machine, furnish: Furnish) -> list[str]:  # noqa: F811
    return list(furnish(house, stock, keep_house, print_kit))


def edit(house: Machine, statement: str) -> None:  # noqa: F811
    [file] = [path for path in Path(house.home).rglob("*.db") if path.name == "state.db"]
    with sqlite3.connect(file) as connection:
        assert connection.execute(statement).rowcount >= 1
    connection.close()


def test_what_the_kit_says_to_type_says_that_nothing_changed(house: Machine, typed: list[str]) -> None:  # noqa: F811
    house.ok("emergency", "backup", "emergency", "--force")
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
    assert changed.failed_with(LedgerChanged)
    assert "not to what was printed" in " ".join(changed.err.split())
    assert house.run("ledger", "check").failed_with(LedgerChanged)
    house.ok("emergency", "kit", "--output", "kit.html", "--force")
    assert "Event 1 had been changed" in house.path("kit.html").read_text()
    edit(house, "DELETE FROM events WHERE id > 1")
    assert house.run(*typed).failed_with(LedgerCut)


@pytest.mark.parametrize(
    "words", [["--id", "1"], ["--sha256", "0" * 64], ["--id", "1", "--sha256", "0" * 63]]
)
def test_half_a_head_is_refused(house: Machine, words: list[str]) -> None:  # noqa: F811
    assert house.run("ledger", "check", *words).failed_with(UsageError)


def publish(machine: Machine) -> None:
    machine.ok("backup", "--policy", "full", "--force")
    machine.ok("ledger", "publish")


kept = furnished(stock, configure, publish)


def test_signed_heads_on_targets_say_that_nothing_changed_and_how_far(kept: Machine) -> None:
    said = kept.ok("ledger", "check", "--targets").out
    found = kept.ok("ledger", "check", "--targets", "--json").document
    assert [one["agree"] for one in found["targets"]] == [1, 1, 1]
    assert f"toronto: 1 head as the record has it, signed up to event {found['head']['id']}" in said
    assert "frankfurt: there already" in kept.ok("ledger", "publish").out


def test_a_record_that_was_cut_is_refused_by_what_lies_on_targets(kept: Machine) -> None:
    edit(kept, "DELETE FROM events WHERE id > 1")
    for words in (["check", "--targets"], ["publish"]):
        refused = kept.run("ledger", *words)
        assert refused.failed_with(LedgerCut)
        assert "backups rebuild" in " ".join(refused.err.split())
    assert kept.run("ledger", "check").code == 0, "nothing in it tells"


def test_a_target_that_is_away_is_named_and_the_others_are_held_against(kept: Machine) -> None:
    [dublin] = [path for path in Path(kept.home).rglob("dublin") if path.is_dir()]
    dublin.rename(dublin.with_name("away"))
    dublin.write_text("no directory")
    for words in (["check", "--targets"], ["publish"]):
        refused = kept.run("ledger", *words)
        assert refused.failed_with(TargetUnavailable)
        assert "dublin" in refused.err
    assert "frankfurt: 1 head as the record has it" in kept.run("ledger", "check", "--targets").out


def test_a_record_that_is_not_there_is_neither_made_nor_called_unchanged(kept: Machine) -> None:
    for file in kept.state.glob("state.db*"):
        file.unlink()
    for words in (["check"], ["check", "--targets"], ["head"]):
        assert kept.run("ledger", *words).code == StateError.exit_code
    assert not (kept.state / "state.db").exists()


def test_a_record_that_was_compared_with_no_head_is_not_called_well(kept: Machine) -> None:
    for place in list(Path(kept.home).rglob("ledger")):
        shutil.rmtree(place)
    checked = kept.run("ledger", "check", "--targets")
    assert (checked.code, "compared with none" in checked.err) == (WarningsRaised.exit_code, True)


def test_known_without_targets_is_refused(kept: Machine) -> None:
    assert kept.run("ledger", "check", "--known", "ab" * 32).failed_with(UsageError)


def test_junk_in_the_name_of_the_record_is_reported_as_of_an_unknown_signer(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    head = configured.ok("ledger", "publish", "--json").document["head"]
    [place, *_] = Path(configured.home).rglob(f"{head['event']:012}-*.json")
    for number in range(101):
        (place.parent / f"{10**12 - 1 - number}-{'0' * 16}.json").write_text("junk")
    checked = configured.run("ledger", "check", "--targets")
    assert (checked.code, "docs/how-to/symptoms.md" in checked.err) == (UntrustedSigner.exit_code, True)
    assert checked.out.count("as the record has it") == 2
    configured.ok("backup", "--policy", "full", "--force")
    assert configured.run("ledger", "publish").code == UntrustedSigner.exit_code
