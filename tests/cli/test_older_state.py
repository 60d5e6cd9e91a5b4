"""What a version before the first release left: refused as a whole, and not touched."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from strongroom.container.errors import Tampered
from strongroom.errors import ConfigError
from tests.cli.conftest import configure, stock
from tests.cli.furnished import furnished
from tests.cli.program import Machine


def age(machine: Machine) -> None:
    """Make a state directory what an early version would have left: keys without certificates, and a schema
    that this version would migrate."""
    machine.ok("backup", "--policy", "metadata", "--force")
    keys = machine.state / "keys" / "roles" / "trusted.json"
    key = {"version": 1, "public": "59" * 32, "since": "2026-01-01T00:00:00+00:00"}
    keys.write_text(json.dumps({"control": [key], "seal": [key]}))
    with sqlite3.connect(machine.state / "state.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0005'")
    connection.close()


def age_to_the_format_before(machine: Machine) -> None:
    """Leave what the last version before the first release would have: a list of keys without ``former``."""
    machine.ok("backup", "--policy", "metadata", "--force")
    keys = machine.state / "keys" / "roles" / "trusted.json"
    listed = json.loads(keys.read_text())
    del listed["former"]
    keys.write_text(json.dumps(listed))


aged = furnished(stock, configure, age)
aged_a_little = furnished(stock, configure, age_to_the_format_before)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    "words",
    [
        "runs",
        "backups replicas",
        "backups list",
        "backups rebuild --from frankfurt",
        "schedule",
        "check",
        "alerts send",
        "check config",
        "backup --policy metadata",
        "set NEW --type api_key",
        "secrets delete API_KEY --force",
        "ledger check",
        "backups prune --dry-run",
        "keys list",
        "init",
    ],
)
def test_every_command_refuses_it_says_what_to_do_and_changes_nothing(aged: Machine, words: str) -> None:
    before = contents(aged.home)
    done = aged.run(*words.split(), stdin="CANARY-value")
    assert done.failed_with(ConfigError), done
    said = " ".join(done.err.split())
    assert "made by a version before the first release" in said
    assert "docs/how-to/upgrade.md" in said
    assert contents(aged.home) == before


@pytest.mark.parametrize(
    "words", ["runs", "backup --policy metadata", "backups find API_KEY", "keys signers list", "init"]
)
def test_so_is_what_the_format_of_before_was_made_with(aged_a_little: Machine, words: str) -> None:
    before = contents(aged_a_little.home)
    done = aged_a_little.run(*words.split())
    assert done.failed_with(ConfigError), done
    assert "made by a version before the first release" in " ".join(done.err.split())
    assert contents(aged_a_little.home) == before


def test_a_target_whose_manifests_cannot_be_read_is_not_called_empty(
    aged_a_little: Machine, other: Machine
) -> None:
    manifest = next(aged_a_little.home.rglob("manifests/*.json"))
    manifest.write_bytes(manifest.read_bytes().replace(b'"trust":0', b'"trust":1'))
    done = other.run("backups", "list", "--from-target", manifest.parents[1])
    assert done.failed_with(Tampered), done
    assert "no manifest" not in done.err


def test_the_secrets_of_its_local_store_come_along(aged: Machine, other: Machine) -> None:
    other.ok("init")
    (other.state / "keys").mkdir(mode=0o700, exist_ok=True)
    shutil.copytree(aged.state / "store", other.state / "store")
    shutil.copy2(aged.state / "keys" / "store.key", other.state / "keys" / "store.key")
    assert other.ok("list").out == aged.ok("list").out
