"""The seven alerts of the procedures: each provoked, received by mail, webhook, Apprise and a dead man's
switch, and called over after. Every receiver is a real server on loopback.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from strongroom.operations.errors import NothingOpens, RunDegraded
from tests.cli.program import REGIONS, Machine
from tests.operations.alerts.people import People, reachable

SEVEN = {
    "backup.overdue:late": "critical",  # no backup for longer than the threshold
    f"replica.bad:{REGIONS[1]}": "critical",  # corruption
    "rotation.failed:full": "critical",  # a key rotation that failed
    "ledger.broken": "critical",  # access that nobody may have
    "backup.count:metadata": "warning",  # a size anomaly
    "backup.slow:metadata": "warning",
    "key.aging:recovery": "warning",
}
"""Those of the backup procedures, as alerts of Strongroom."""


@pytest.fixture
def people() -> Iterator[People]:
    with reachable() as people:
        yield people


def change(machine: Machine, before: str, after: str) -> None:
    file = machine.path("strongroom.toml")
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))


def edit(machine: Machine, statement: str) -> None:
    with closing(sqlite3.connect(machine.state / "state.db")) as database, database:
        assert database.execute(statement).rowcount == 1


def provoke(machine: Machine) -> None:
    """Bring about each of the seven. What takes hours is dated so in the record."""
    change(machine, 'key_age = "365d"', 'key_age = "1d"\nnotice = "1d"')
    machine.path("more.env").write_text("".join(f"MORE_{number}=CANARY-{number}\n" for number in range(30)))
    machine.ok("import", "more.env")
    run = machine.ok("backup", "--policy", "metadata", "--force", "--json").document["id"]
    edit(machine, f"UPDATE runs SET finished_at = finished_at + 600 WHERE id = '{run}'")
    [container] = containers(machine)
    container.write_bytes(bytes([*container.read_bytes()[:-1], container.read_bytes()[-1] ^ 1]))
    assert machine.run("backup-health-check", "--check-integrity").code
    assert machine.run("rotate", "full").failed_with(NothingOpens)
    edit(machine, "UPDATE events SET kind = kind || '!' WHERE id = 2")


def containers(machine: Machine) -> list[Path]:
    """Return the containers of the full backup in one region."""
    [full] = [one["backup"] for one in catalog(machine) if one["policy"] == "full"]
    return list((machine.path("regions") / REGIONS[1] / "containers" / full).iterdir())


def catalog(machine: Machine) -> list[dict[str, str]]:
    found: list[dict[str, str]] = machine.ok("catalog", "list", "--json").document["backups"]
    return found


def put_right(machine: Machine) -> None:
    """End each of the seven."""
    edit(machine, "UPDATE events SET kind = replace(kind, '!', '') WHERE id = 2")
    machine.ok("backup", "--policy", "late", "--force")
    machine.ok("delete", *[f"MORE_{number}" for number in range(30)], "--force")
    assert machine.run("backup", "--policy", "metadata", "--force").failed_with(RunDegraded), "it shrank"
    machine.ok("repair")
    change(machine, "[keys.recovery]\n", '[keys.recovery]\nidentity_file = "recovery.key"\n')
    machine.ok("rotate", "full")
    change(machine, 'key_age = "1d"\nnotice = "1d"', 'key_age = "365d"')


def test_each_of_the_seven_is_received_everywhere_and_called_over_after(
    configured: Machine, people: People
) -> None:
    pytest.importorskip("apprise")
    machine = configured
    file = machine.path("strongroom.toml")
    late = f'[policies.late]\nkind = "metadata"\ntargets = {json.dumps(REGIONS)}\nschedule = "0 2 * * *"\n'
    file.write_text(file.read_text() + people.settings(machine) + late)
    for policy in ("metadata", "metadata", "metadata", "full"):
        machine.ok("backup", "--policy", policy, "--force")

    provoke(machine)
    machine.run("backup-alerts")
    [mail], [hook], [service], [ping] = people.received()
    told = {one["key"]: one["severity"] for one in hook.document["data"]["alerts"]}
    assert SEVEN.items() <= told.items()
    assert all(f"{severity.upper()}: {key}" in mail.text for key, severity in SEVEN.items())
    critical = [key for key, severity in SEVEN.items() if severity == "critical"]
    assert all(key in service.document["message"] for key in critical)
    assert "key.aging" not in service.document["message"], "that route has critical alerts alone"
    assert ping.path.endswith("/fail")
    assert all(key in ping.body.decode() for key in SEVEN)

    put_right(machine)
    machine.run("backup-alerts")
    [_, mail], [_, hook], [_, service], [_, ping] = people.received()
    over = {one["key"] for one in hook.document["data"]["resolved"]}
    assert SEVEN.keys() <= over
    assert all(f"{key}: " in mail.text for key in SEVEN)
    assert all(key in service.document["message"] for key in critical)
    assert not any(key in ping.body.decode() for key in SEVEN)
    people.assert_nothing_secret(machine)
