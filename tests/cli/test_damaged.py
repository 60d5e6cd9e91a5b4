"""A damaged database: what to type is said, and typing it brings everything back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from strongroom.container.errors import WrongKey
from strongroom.errors import SourceError
from strongroom.state.errors import StateError
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import Machine

GARBAGE = b"CANARY-garbage " * 4_000
MOVED = ("", "-wal", "-shm")


def move_away(path: Path) -> None:
    """Do what the hints say."""
    for suffix in MOVED:
        found = path.with_name(path.name + suffix)
        if found.exists():
            found.replace(found.with_name(f"damaged-{found.name}"))


def overwrite_a_page(path: Path) -> None:
    """Damage a page of a table that nothing but a look at everything reads."""
    with sqlite3.connect(path) as conn:
        size, (root,) = (
            conn.execute("PRAGMA page_size").fetchone()[0],
            conn.execute("SELECT rootpage FROM sqlite_master WHERE name = 'slots'").fetchone(),
        )
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xee" * size)


def test_a_state_database_that_is_none_is_moved_away_and_filled_anew(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    database = configured.state / "state.db"
    move_away(database)
    database.write_bytes(GARBAGE)
    refused = configured.run("runs")
    assert refused.failed_with(StateError)
    assert "move 'state.db'" in " ".join(refused.err.split())
    assert "strongroom backups rebuild --from TARGET" in " ".join(refused.err.split())
    assert configured.run("backups", "rebuild", "--from", "frankfurt").failed_with(StateError)
    move_away(database)
    assert "1 backup" in configured.ok("backups", "rebuild", "--from", "frankfurt").out
    configured.ok("runs")


def test_nothing_is_entered_into_a_state_database_of_which_a_page_is_damaged(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    overwrite_a_page(configured.state / "state.db")
    refused = configured.run("backups", "rebuild", "--from", "frankfurt")
    assert refused.failed_with(StateError)
    assert "the file is damaged" in " ".join(refused.err.split())


@pytest.mark.parametrize("gone", ["secrets.db", "store.key"])
def test_a_local_store_that_is_damaged_is_moved_away_and_restored(configured: Machine, gone: str) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    names = {secret["name"] for secret in configured.ok("list", "--json").document["secrets"]}
    (found,) = configured.state.rglob(gone)
    if gone == "secrets.db":
        found.write_bytes(GARBAGE)
    else:
        found.unlink()
    restore = ("restore", "--from-target", "frankfurt", "--full-restore", "--identity", "recovery.key")
    refused = configured.run(*restore)
    assert refused.code in (WrongKey.exit_code, SourceError.exit_code)
    assert "move" in refused.err.lower()
    (store,) = configured.state.rglob("secrets.db")
    move_away(store)
    configured.ok(*restore)
    assert {secret["name"] for secret in configured.ok("list", "--json").document["secrets"]} == names


def test_a_rebuild_keeps_what_a_deeper_look_found(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    configured.ok("backups", "verify", "frankfurt", "--identity", "recovery.key", "--depth", "opened")
    before = configured.ok("backups", "replicas", "--json").document
    configured.ok("backups", "rebuild", "--from", "frankfurt")
    assert configured.ok("backups", "replicas", "--json").document == before
    assert "opened" in str(before)


def test_an_escrow_is_replaced_when_that_is_asked_for(configured: Machine) -> None:
    words = ("emergency", "escrow", "keys.sr", "--recipient", "recovery.key.pub")
    configured.ok(*words)
    refused = configured.run(*words)
    assert refused.failed_with(WouldOverwrite)
    assert "--force" in refused.err
    configured.ok(*words, "--force")


def test_a_catalog_without_a_policy_s_backup_is_not_called_empty(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    assert "no backup of policy 'other'" in configured.ok("backups", "list", "--policy", "other").out


def test_a_path_is_shown_as_it_was_typed(machine: Machine) -> None:
    assert "'nofile' cannot be read" in " ".join(machine.run("backups", "show", "nofile").err.split())
