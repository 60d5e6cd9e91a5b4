"""drill: as a person types it, in one process; and its reports, as an auditor checks them."""

from __future__ import annotations

import re

import pytest

from strongroom.container.errors import MissingPiece, Tampered, UntrustedSigner
from strongroom.errors import ConfigError, UsageError
from strongroom.operations.errors import NothingToRehearse, RunDegraded
from tests.cli.program import REGIONS, Machine
from tests.cli.test_killed import killed


@pytest.fixture
def able(configured: Machine) -> Machine:
    """A machine that holds the private key too."""
    file = configured.path("strongroom.toml")
    key = 'public_key_file = "recovery.key.pub"\n'
    assert key in file.read_text()
    file.write_text(file.read_text().replace(key, f'{key}identity_file = "recovery.key"\n'))
    return configured


def installation(machine: Machine) -> str:
    listed = machine.ok("keys", "signers", "list").out
    return re.findall(r"sr1:[0-9a-f]{64}", listed)[0]


def test_a_drill_is_reported_on_the_targets_and_checked_without_any_of_them(able: Machine) -> None:
    assert able.run("drill", "full").failed_with(NothingToRehearse)
    able.ok("backup", "--policy", "full", "--force")
    done = able.ok("drill", "failover", "--json").document
    assert (done["outcome"], done["stored"]["on"]) == ("passed", list(REGIONS))
    assert able.run("drill", "single", "--objective", "0.001s").failed_with(RunDegraded)
    listed = able.ok("drill", "list", "--json").document["drills"]
    assert [(one["drill"], one["outcome"]) for one in listed] == [
        ("single", "late"),
        ("failover", "passed"),
        ("full", "failed"),
    ]
    report, page = able.path("report.json"), able.path("report.html")
    for file in (report, page):
        able.ok("drill", "show", done["run"], "--output", file)
    elsewhere = Machine(able.path("auditor"))
    check = ("reports", "check", report, "--signer", installation(able))
    assert "vouches for report.html" in elsewhere.ok(*check).out
    assert elsewhere.run(*check[:-2]).failed_with(UntrustedSigner)
    page.write_bytes(page.read_bytes().replace(b"Passed", b"passed"))
    assert elsewhere.run(*check).failed_with(Tampered)
    report.write_bytes(report.read_bytes().replace(b'"failover"', b'"full"'))
    assert elsewhere.run(*check).failed_with(Tampered)


def test_a_report_that_somebody_put_on_a_target_is_told_and_not_listed(able: Machine) -> None:
    able.ok("backup", "--policy", "full", "--force")
    run = able.ok("drill", "single", "--json").document["run"]
    [folder, *_] = [able.path("regions") / name / "drills" for name in REGIONS]
    forged = (folder / f"{run}.json").read_bytes().replace(b'"passed"', b'"forged"')
    (folder / "20260101T000000000000Z-00000000.json").write_bytes(forged)
    listed = able.ok("drill", "list")
    assert "is no report that counts" in listed.err
    assert listed.out.count(run) == 1
    assert "20260101T" not in listed.out


def test_a_drill_that_was_killed_leaves_nothing_once_the_next_is_made(able: Machine) -> None:
    able.ok("backup", "--policy", "full", "--force")
    gone = killed(able, "drill", "full", kind="drill", step="drill-compare")
    assert (able.state / "drills" / gone).is_dir()
    assert gone in able.ok("drill", "single").err
    assert list((able.state / "drills").iterdir()) == []
    outcomes = {one["run"]: one["outcome"] for one in able.ok("drill", "list", "--json").document["drills"]}
    assert outcomes[gone] == "cancelled"


def test_what_makes_no_sense_of_a_drill_is_refused(able: Machine) -> None:
    assert able.run("drill", "show", "no-such-run").failed_with(MissingPiece)
    assert able.run("drill", "list", "--from-target", "nowhere").failed_with(UsageError)
    for typed in (("--into", "nowhere"), ("--target", "nowhere"), ("--policy", "nowhere")):
        assert able.run("drill", "full", *typed).failed_with(ConfigError)
    assert able.ok("runs", "--json").document["runs"] == []
