"""What a restore says of each secret: before it, at its end, and by its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import UsageError
from strongroom.operations.errors import RunDegraded
from tests.cli.program import PASSPHRASE, Machine

RESTORE = ("restore", "--backup-file", "full.sr")
PASS = {"STRONGROOM_PASSPHRASE": PASSPHRASE}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Three secrets in a backup; since then one is gone, one was written to, one is as it was."""
    machine = Machine(tmp_path / "machine")
    for name in ("GONE", "SAME", "WRITTEN"):
        machine.set(name, f"CANARY-{name}")
    machine.seal()
    machine.ok("secrets", "delete", "GONE", "--force")
    machine.set("WRITTEN", "CANARY-LATER")
    return machine


def secrets_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in document["secrets"]}


def test_a_dry_run_names_each_secret_what_would_happen_to_it_and_which_side_is_newer(
    machine: Machine,
) -> None:
    found = secrets_of(machine.ok(*RESTORE, "--full-restore", "--dry-run", "--json", **PASS).document)
    assert {name: each["action"] for name, each in found.items()} == {
        "GONE": "create",
        "SAME": "same",
        "WRITTEN": "leave",
    }
    assert found["WRITTEN"]["expected"] == 2
    assert found["WRITTEN"]["version"] == 1
    assert found["WRITTEN"]["newer"] in ("destination", "neither")  # both may be of the same second
    told = machine.ok(*RESTORE, "--full-restore", "--dry-run", **PASS).out
    assert "1 secret would be created\n      GONE\n" in told
    assert "(--overwrite-existing would replace them)\n      WRITTEN: " in told
    assert "there version 2 of " in told


def test_a_dry_run_says_so_where_the_backup_is_newer(machine: Machine) -> None:
    other = machine.path("older.jsonl")
    other.write_text('{"name": "WRITTEN", "value": "CANARY-OLD", "updated_at": "2001-01-01T00:00:00Z"}\n')
    machine.ok("secrets", "delete", "WRITTEN", "--force")
    machine.ok("secrets", "import", other)
    found = secrets_of(machine.ok(*RESTORE, "--full-restore", "--dry-run", "--json", **PASS).document)
    assert found["WRITTEN"]["newer"] == "backup"


def test_a_dry_run_cuts_long_lists_of_names_unless_all_are_asked_for(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    machine.path("many.env").write_text("".join(f"NAME_{n:03}=CANARY-{n}\n" for n in range(130)))
    machine.ok("secrets", "import", "many.env")
    machine.seal()
    machine.ok("secrets", "delete", *(f"NAME_{n:03}" for n in range(130)), "--force")
    words = (*RESTORE, "--full-restore", "--dry-run")
    cut, whole = (machine.ok(*words, *more, **PASS).out for more in ((), ("--all-names",)))
    assert cut.count("      NAME_") == 100
    assert "and 30 more, which --all-names and --json name" in cut
    assert whole.count("      NAME_") == 130


def test_everything_but_what_is_excluded_is_restored(machine: Machine) -> None:
    machine.ok(*RESTORE, "--full-restore", "--exclude", "WRITTEN", **PASS)
    assert machine.ok("get", "GONE", "--show-value").out == "CANARY-GONE"
    assert machine.ok("get", "WRITTEN", "--show-value").out == "CANARY-LATER"
    for filter_ in (("--include", "GONE"), ("--filter-tag", "a=b")):
        assert machine.run(*RESTORE, "--full-restore", *filter_, **PASS).failed_with(UsageError)


@pytest.mark.parametrize("more", [(), ("--verify-after-restore",)])
def test_a_restore_that_leaves_what_differs_names_it_and_is_no_success(
    machine: Machine, more: tuple[str, ...]
) -> None:
    done = machine.run(*RESTORE, "--full-restore", *more, **PASS)
    assert done.failed_with(RunDegraded)
    assert "1 secret differs and is left as it is:\n    WRITTEN\n" in done.out
    assert "all equal" not in done.out
    assert ("3 secrets compared once more at the end: 2 equal, 1 not" in done.out) is bool(more)
    [folder] = (machine.state / "undo").iterdir()
    file = folder / "not-restored.jsonl"
    assert f"all of their names are in {file}" in done.out
    assert '"name":"WRITTEN"' in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert "CANARY" not in file.read_text() + done.out + done.err


def test_a_restore_with_nothing_to_tell_leaves_no_folder(machine: Machine) -> None:
    machine.ok(*RESTORE, "--include", "SAME", **PASS)
    assert list((machine.state / "undo").iterdir()) == []
