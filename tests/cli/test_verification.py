"""How much was verified, by command line; damage found, repaired and told."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest

from strongroom.cli.shared import target_comparison
from strongroom.model import Depth
from tests.cli.program import Machine

DAY = 86_400


def back_up(machine: Machine) -> None:
    machine.ok("backup", "--policy", "full", "--force")


def pass_time(machine: Machine, days: float) -> None:
    """Have everything be read so many days ago, and made as long ago."""
    with closing(sqlite3.connect(machine.state / "state.db")) as database, database:
        database.execute("UPDATE container_checks SET checked_at = checked_at - ?", (days * DAY,))
        database.execute("UPDATE replicas SET verified_at = verified_at - ?", (days * DAY,))
        database.execute("UPDATE catalog SET created_at = '2020-01-01T00:00:00Z'")


def test_a_look_is_on_record_for_when_it_began_and_not_for_when_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted: dict[str, float] = {}
    monkeypatch.setattr(target_comparison, "_record_result", lambda *_, at: noted.update(at=at))
    with target_comparison.recorded(None, None, Depth.DIGEST, None, None):  # type: ignore[arg-type]
        read = time.time()
    assert noted["at"] <= read


def flip_a_bit(machine: Machine, region: str) -> str:
    [path] = machine.path(f"regions/{region}/containers").glob("*/*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    return path.parent.name


def test_status_says_how_much_was_verified_and_what_was_not_for_longest(configured: Machine) -> None:
    assert "There is nothing to verify yet." in configured.ok("runs").out
    back_up(configured)
    fresh = configured.ok("runs", "--json").document["verification"]
    assert (fresh["containers"], fresh["verified"], fresh["share"], fresh["late"]) == (6, 6, 1.0, 0)
    pass_time(configured, 31)
    said = configured.ok("runs").out
    assert (
        "0.0 % verified: 0 of 6 containers and manifests read within 30 days; the longest ago: the " in said
    )
    assert ", 31 days; all will be read by " in said
    late = configured.ok("runs", "--json").document["verification"]
    assert (late["verified"], late["late"], late["never"]) == (0, 6, 0)
    assert late["oldest"]["container"] == -1
    assert late["oldest_age_seconds"] > 31 * DAY - 60


def test_health_and_alerts_tell_of_what_was_not_verified_in_its_span(configured: Machine) -> None:
    back_up(configured)
    pass_time(configured, 31)
    findings = configured.run("check", "--json").document["findings"]
    late = [one for one in findings if one["code"] == "VerificationOverdue"]
    assert len(late) == 3
    assert {(one["check"], one["state"]) for one in late} == {("verification", "warning")}
    alerts = configured.run("alerts", "send", "--json").document["alerts"]
    assert sum(one["key"].startswith("verification.late:") for one in alerts) == 3


def test_damage_is_found_repaired_and_told_in_one_go(configured: Machine) -> None:
    back_up(configured)
    region = next(configured.path("regions").iterdir()).name
    backup = flip_a_bit(configured, region)
    pass_time(configured, 29)
    found = configured.run("schedule", "run", "verification")
    assert found.code == 70, found
    assert f"{backup} on {region}: its container 0: Tampered" in found.out
    again = configured.ok("backups", "verify", configured.path(f"regions/{region}"))
    assert "digest" in again.out
    alerts = configured.run("alerts", "send", "--json").document["alerts"]
    [told] = [one for one in alerts if one["key"] == f"replica.repaired:{region}"]
    assert f"{backup} (its container 0: Tampered; copied from " in told["what"]


def test_a_command_that_reads_a_replica_back_counts(configured: Machine) -> None:
    back_up(configured)
    pass_time(configured, 31)
    configured.ok("check", "backups", "--check-integrity")
    assert configured.ok("runs", "--json").document["verification"]["late"] == 0
