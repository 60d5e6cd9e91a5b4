"""What the seven alerts of the procedures are about: brought about on a machine, and ended."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from strongroom.operations.errors import NothingOpens, RunDegraded
from tests.cli.program import REGIONS, Machine

LATE = f'[policies.late]\nkind = "metadata"\ntargets = {json.dumps(REGIONS)}\nschedule = "0 2 * * *"\n'
"""A policy that nothing was backed up by."""


def change(machine: Machine, before: str, after: str) -> None:
    file = machine.path("strongroom.toml")
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))


def edit(machine: Machine, statement: str) -> None:
    with closing(sqlite3.connect(machine.state / "state.db")) as database, database:
        assert database.execute(statement).rowcount == 1


def provoke(machine: Machine) -> None:
    """Bring about each of the seven, on a machine with LATE and alerts.key_age = "365d".

    What takes hours is dated so in the record.
    """
    change(machine, 'key_age = "365d"', 'key_age = "1d"\nnotice = "1d"')
    machine.began_long_ago()
    machine.path("more.env").write_text("".join(f"MORE_{number}=CANARY-{number}\n" for number in range(30)))
    machine.ok("secrets", "import", "more.env")
    run = machine.ok("backup", "--policy", "metadata", "--force", "--json").document["id"]
    edit(machine, f"UPDATE runs SET finished_at = finished_at + 600 WHERE id = '{run}'")
    [container] = containers(machine)
    container.write_bytes(bytes([*container.read_bytes()[:-1], container.read_bytes()[-1] ^ 1]))
    assert machine.run("check", "backups", "--check-integrity").code
    assert machine.run("keys", "rotate", "full").failed_with(NothingOpens)
    edit(machine, "UPDATE events SET kind = kind || '!' WHERE id = 2")


def containers(machine: Machine) -> list[Path]:
    """Return the containers of the full backup in one region."""
    [full] = [one["backup"] for one in catalog(machine) if one["policy"] == "full"]
    return list((machine.path("regions") / REGIONS[1] / "containers" / full).iterdir())


def catalog(machine: Machine) -> list[dict[str, str]]:
    found: list[dict[str, str]] = machine.ok("backups", "list", "--json").document["backups"]
    return found


def put_right(machine: Machine) -> None:
    """End each of the seven."""
    edit(machine, "UPDATE events SET kind = replace(kind, '!', '') WHERE id = 2")
    machine.ok("backup", "--policy", "late", "--force")
    machine.ok("secrets", "delete", *[f"MORE_{number}" for number in range(30)], "--force")
    assert machine.run("backup", "--policy", "metadata", "--force").failed_with(RunDegraded), "it shrank"
    machine.ok("backups", "repair")
    change(machine, "[keys.recovery]\n", '[keys.recovery]\nidentity_file = "recovery.key"\n')
    machine.ok("keys", "rotate", "full")
    change(machine, 'key_age = "1d"\nnotice = "1d"', 'key_age = "365d"')
