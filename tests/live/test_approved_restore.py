"""A restore by a live cluster that two of three people have to approve: it is killed while it waits."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import Machine
from tests.patience import until
from tests.ssh_people import allow, person
from tests.workers.cluster import descendants, up

COUNT = 50
CONFIG = """
[sources.local]
kind = "local"
[sources.production]
kind = "local"
path = "production"
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
identity_file = "recovery.key"
[targets.near]
kind = "directory"
path = "near"
region = "near"
create = true
[policies.weekly]
kind = "full"
targets = ["near"]
recipients = ["recovery"]
[approvals]
allowed_signers = "allowed_signers"
[approvals.rules.production]
actions = ["restore"]
above = 10
destinations = ["production"]
k = 2
people = ["alice@example.org", "bob@example.org", "carol@example.org"]
"""


@contextmanager
def cluster(machine: Machine) -> Iterator[None]:
    """Run a cluster, and kill all of it at the end as kill -9 does."""
    with up(machine, "--with-recover", forked=True) as running:
        yield
        for pid in (running.process.pid, *descendants(running.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.process.wait()


def status(machine: Machine, run: str) -> dict[str, Any]:
    return machine.ok("runs", "show", run, "--json").document


def in_production(machine: Machine) -> int:
    return len(machine.ok("list", "--source", "production", "--json").document["secrets"])


@pytest.mark.timeout(900)
@pytest.mark.long
def test_it_waits_is_killed_is_approved_meanwhile_is_done_once_and_no_replay_does_it_again(
    tmp_path: Path,
) -> None:
    machine, other = Machine(tmp_path / "machine"), Machine(tmp_path / "other")
    names = ("alice", "bob", "carol")
    people = {name: person(tmp_path / "people", f"{name}@example.org") for name in names}
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(CONFIG)
    allow(machine.path("allowed_signers"), *people.values())
    lines = (f'{{"name": "app/{number}", "value": "CANARY-{number}"}}\n' for number in range(COUNT))
    machine.path("secrets.jsonl").write_text("".join(lines))
    machine.ok("secrets", "import", "secrets.jsonl")
    backup = machine.ok("backup", "--policy", "weekly", "--force", "--json").document["backup"]
    with cluster(machine):
        words = ("restore", "--full-restore", "--cluster", "--backup", backup, "--to", "production", "--json")
        run = machine.ok(*words, SUDO_USER="dave").document["run"]
        until(lambda: status(machine, run)["waiting"], what="the run to wait")
    assert "2 of alice@example.org" in status(machine, run)["waiting"]["error"]
    # Nobody works on it: the cluster is dead. One signs here, one on a host that has nothing.
    machine.ok("approvals", "approve", run, "--key", people["alice"].file, "--force")
    machine.ok("approvals", "show", run, "--output", "request")
    other.path("request").write_bytes(machine.path("request").read_bytes())
    signing = ("approvals", "approve", "--request", "request", "--output", "sig", "--force")
    other.ok(*signing, "--key", people["carol"].file)
    machine.path("sig").write_bytes(other.path("sig").read_bytes())
    machine.ok("approvals", "add", "sig")
    with cluster(machine):
        until(lambda: status(machine, run)["state"] == "done", what="the end of the run")
    assert in_production(machine) == COUNT
    replay(machine.state / "state.db", run)
    store = machine.path("production") / "store" / "secrets.db"
    store.unlink()
    with cluster(machine):
        until(lambda: status(machine, run)["state"] == "failed", what="the refusal of the replay")
    assert "used before" in status(machine, run)["happened"]
    assert not store.exists()
    kinds = [alert["kind"] for alert in machine.run("alerts", "send", "--json").document["alerts"]]
    assert "approval.refused" in kinds


def replay(database: Path, run: str) -> None:
    """Put everything back as it was when the run was approved, as somebody can who reaches the database."""
    with sqlite3.connect(database) as conn:
        conn.execute("DELETE FROM events WHERE kind IN ('approval.used', 'approval.spent')")
        conn.execute("DELETE FROM leases WHERE name LIKE 'approval %'")
        late = "('restore', 'restore-compare', 'report')"
        conn.execute(f"DELETE FROM steps WHERE run = ? AND kind IN {late}", (run,))
        again = "state = 'ready', attempts = 0, silent = 0, not_before = 0, result = NULL"
        conn.execute(f"UPDATE steps SET {again} WHERE run = ? AND kind = 'approve'", (run,))
        conn.execute("UPDATE runs SET state = 'active', finished_at = NULL WHERE id = ?", (run,))
    conn.close()
