"""Bringing back needs no state: with the state database away, damaged, of a newer version or not to be
written to, and with no configuration at all, a restore does what it says and can be undone."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.program import PASSPHRASE, Machine

PASS = {"STRONGROOM_PASSPHRASE": PASSPHRASE}
VALUES = {"API_KEY": "CANARY-api", "JWT_KEY": "CANARY-jwt"}
SETTINGS = """
state_dir = "state"
[targets.region-a]
kind = "directory"
path = "region-a"
region = "region-a"
create = true
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
[policies.nightly]
kind = "full"
targets = ["region-a"]
recipients = ["recovery"]
single_recipient_reason = "a test"
"""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with a backup in a file and one on a target; each test takes a copy."""
    machine = Machine(tmp_path_factory.mktemp("without") / "home")
    machine.path("strongroom.toml").write_text(SETTINGS)
    machine.ok("keys", "new", "--output", "recovery.key")
    for name, value in VALUES.items():
        machine.set(name, value)
    machine.ok("backup", "--policy", "nightly", "--force")
    machine.seal("full.sr", "--recipient", "recovery.key.pub")
    machine.ok("secrets", "delete", "API_KEY", "--force")
    machine.set("JWT_KEY", "CANARY-later")
    return machine.home


@pytest.fixture
def machine(furnished: Path, tmp_path: Path) -> Machine:
    home = tmp_path / "home"
    shutil.copytree(furnished, home)
    return Machine(home)


def _remove(machine: Machine) -> None:
    for file in machine.state.glob("state.db*"):
        file.unlink()


def _damage(machine: Machine) -> None:
    _remove(machine)
    (machine.state / "state.db").write_bytes(b"SQLite format 3\0" + b"CANARY no pages" * 500)


def _no_database(machine: Machine) -> None:
    _remove(machine)
    (machine.state / "state.db").write_text("CANARY: somebody wrote a note over it")


def _newer(machine: Machine) -> None:
    with sqlite3.connect(machine.state / "state.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


def _a_folder(machine: Machine) -> None:
    _remove(machine)
    (machine.state / "state.db").mkdir()


def _locked_for_good(machine: Machine) -> None:
    """Leave one that SQLite cannot write beside: a folder lies where its log would."""
    for file in machine.state.glob("state.db-*"):
        file.unlink()
    (machine.state / "state.db-wal").mkdir()
    (machine.state / "state.db-shm").mkdir()


def _no_configuration(machine: Machine) -> None:
    machine.path("strongroom.toml").unlink()


def _odd_configuration(machine: Machine) -> None:
    machine.path("strongroom.toml").write_text("state_dir = [[[")


STATES = [_remove, _damage, _no_database, _newer, _a_folder, _locked_for_good, _no_configuration]
FROM = {
    "file": ("--backup-file", "full.sr"),
    "target": ("--from-target", "region-a"),
}


def values(machine: Machine) -> dict[str, str]:
    names = [one["name"] for one in machine.ok("list", "--json").document["secrets"]]
    return {name: machine.ok("get", name, "--show-value").out for name in names}


def given(machine: Machine, where: str) -> tuple[str, ...]:
    target = ("--from-target", str(machine.path("region-a")))
    return (*(target if where == "target" else FROM[where]), "--identity", "recovery.key")


@pytest.mark.parametrize("where", FROM)
@pytest.mark.parametrize("spoil", [*STATES, _odd_configuration], ids=lambda one: one.__name__)
def test_a_restore_does_what_it_says_and_is_undone(
    machine: Machine, spoil: Callable[[Machine], None], where: str
) -> None:
    spoil(machine)
    words = ("restore", *given(machine, where), "--full-restore", "--overwrite-existing", "--force")
    done = machine.ok(*words, "--verify-after-restore", "--json").document
    assert (done["created"], done["changed"], done["verified"]) == (1, 1, 2), done
    assert values(machine) == VALUES
    [way_back] = done["undo_by"]
    machine.ok(*way_back.split()[1:], "--force")
    assert values(machine) == {"JWT_KEY": "CANARY-later"}


@pytest.mark.parametrize("where", FROM)
@pytest.mark.parametrize("spoil", STATES, ids=lambda one: one.__name__)
def test_one_secret_comes_back(machine: Machine, spoil: Callable[[Machine], None], where: str) -> None:
    spoil(machine)
    machine.ok("restore", *given(machine, where), "--secret-name", "API_KEY", "--force")
    assert values(machine)["API_KEY"] == VALUES["API_KEY"]


@pytest.mark.parametrize("where", FROM)
@pytest.mark.parametrize("spoil", STATES, ids=lambda one: one.__name__)
def test_a_plan_is_made_and_done(machine: Machine, spoil: Callable[[Machine], None], where: str) -> None:
    spoil(machine)
    words = ("--full-restore", "--overwrite-existing", "--plan-out", "plan")
    machine.ok("restore", *given(machine, where), *words)
    assert "API_KEY" not in values(machine)
    machine.ok("restore", *given(machine, where), "--plan", "plan", "--force")
    assert values(machine) == VALUES


@pytest.mark.parametrize("where", FROM)
def test_a_bare_machine_restores_and_undoes_with_a_key_and_a_backup_alone(
    machine: Machine, tmp_path: Path, where: str
) -> None:
    signer = machine.ok("backups", "show", "full.sr", "--json").document["signer"]
    bare = Machine(tmp_path / "bare")
    for name in ("full.sr", "recovery.key"):
        shutil.copy(machine.path(name), bare.path(name))
    shutil.copytree(machine.path("region-a"), bare.path("region-a"))
    words = ("restore", *given(bare, where), "--full-restore", "--signer", signer, "--force")
    done = bare.ok(*words, "--json").document
    assert values(bare) == VALUES
    bare.ok(*done["undo_by"][0].split()[1:], "--signer", signer, "--force")
    assert values(bare) == {}
    assert not (bare.state / "state.db").exists()
