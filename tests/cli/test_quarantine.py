"""Quarantine is heeded by every command and host: by a signed mark beside the backup, on each target."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from strongroom.operations.errors import (
    BackupQuarantined,
    LeakedValue,
    LessThanKnown,
    SetAside,
    StepIncomplete,
)
from tests.cli.conftest import stock
from tests.cli.furnished import Furnish
from tests.cli.program import Machine
from tests.cli.test_right_backup import NAMES, house, ids, keep_house, key, lost, names, words_of

__all__ = ["house", "lost"]


def set_aside(house: Machine) -> str:
    """Set the newest full backup aside, after another of the same policy; return its name."""
    house.set("JWT_SECRET_KEY", "CANARY-NEWER", "--type", "signing_key", "--tag", "priority=critical")
    house.ok("backup", "--policy", "monthly-full", "--force")
    backup = ids(house)["monthly-full"]
    words = ["--reason", "made while the server was under attack", "--output", "q.json"]
    house.ok("incident", "open", "--backup", backup, *words, "--quarantine-only", "--force")
    return backup


@pytest.fixture
def aside(house: Machine, furnish: Furnish) -> str:
    return str(furnish(house, stock, keep_house, set_aside))


def copy(house: Machine, lost: Machine) -> None:
    shutil.rmtree(lost.path("copy"))
    shutil.copytree(house.path("regions"), lost.path("copy"))


def test_on_another_machine_it_is_passed_over_and_the_one_before_it_taken(
    house: Machine, lost: Machine, aside: str
) -> None:
    copy(house, lost)
    done = lost.run("restore", "--from-target", "copy/east", "--full-restore", *key(lost, house))
    assert done.failed_with(LessThanKnown), done  # what came is older than what there is
    assert names(lost) == NAMES
    assert f"skipped: {aside} of policy 'monthly-full'" in words_of(done)
    assert "it is in quarantine since" in words_of(done)
    assert "made while the server was under attack" in words_of(done)
    assert lost.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-JWT"


def test_one_that_is_named_is_refused_and_a_flag_takes_it_aloud_and_on_record(
    house: Machine, lost: Machine, aside: str
) -> None:
    copy(house, lost)
    words = ["restore", "--from-target", "copy/east", "--full-restore", "--backup", aside, *key(lost, house)]
    refused = lost.run(*words)
    assert refused.failed_with(BackupQuarantined)
    assert "--use-quarantined" in refused.err
    assert lost.run("list").out.startswith("The store is clean")
    lost.state.mkdir(exist_ok=True)
    done = lost.run(*words, "--use-quarantined", "--force")
    assert done.failed_with(LeakedValue), done  # it is done, and said to be what others know
    assert "this backup is in quarantine since" in words_of(done)
    assert "made while the server was under attack" in lost.state.joinpath("accesses.jsonl").read_text()


@pytest.mark.parametrize(
    "command", ["restore --full-restore", "restore --secret-name {name}", "drill local", "check secrets"]
)
def test_no_command_takes_it_when_it_is_named(house: Machine, aside: str, command: str) -> None:
    words = command.format(name=NAMES[0]).split()
    done = house.run(*words, "--from-target", "east", "--backup", aside, "--identity", "recovery.key")
    assert done.failed_with(BackupQuarantined)


def test_a_release_lets_every_host_restore_from_it_again(house: Machine, lost: Machine, aside: str) -> None:
    house.ok("incident", "release", aside, "--reason", "it was a drill")
    copy(house, lost)
    done = lost.run("restore", "--from-target", "copy/west", "--full-restore", "--force", *key(lost, house))
    assert done.failed_with(LeakedValue), done  # the incident goes on
    assert f"from backup {aside}" in words_of(done)


def test_a_mark_on_one_target_holds_for_all_that_are_read(house: Machine, lost: Machine, aside: str) -> None:
    copy(house, lost)
    shutil.rmtree(lost.path("copy/east/quarantine"))
    words = ["--from-target", "copy/east", "--from-target", "copy/west"]
    done = lost.run("restore", *words, "--full-restore", *key(lost, house))
    assert done.failed_with(LessThanKnown), done
    assert f"from backup {aside}" not in words_of(done)
    assert f"target 'copy/east': quarantine/{aside}/: mark 1 was set there" in words_of(done)


def test_a_strangers_mark_and_a_damaged_one_set_nothing_aside_and_are_told(
    house: Machine, lost: Machine, aside: str, tmp_path: Path
) -> None:
    mark = house.path(f"regions/east/quarantine/{aside}/00000001.json")
    content = mark.read_bytes()
    house.ok("incident", "release", aside, "--reason", "it was a drill")
    copy(house, lost)
    good = aside
    folder = lost.path(f"copy/east/quarantine/{good}")
    (folder / "00000003.json").write_bytes(content.replace(b"under attack", b"under siege!"))
    (folder / "00000004.json").write_bytes(content)
    done = lost.run("restore", "--from-target", "copy/east", "--full-restore", "--force", *key(lost, house))
    assert done.failed_with(LeakedValue), done
    assert f"from backup {good}" in words_of(done)
    odd = "2 objects pose as marks there and count for nothing: 00000004.json: Tampered"
    assert f"target 'copy/east': quarantine/{good}/: {odd}" in words_of(done)


def test_looking_whether_a_recovery_would_go_well_takes_what_a_restore_takes(
    house: Machine, aside: str
) -> None:
    """They went policy by policy, and by the record of this host alone."""
    older = [one for one in full_ones(house) if one != aside]
    shutil.rmtree(house.path("regions/west/quarantine"))
    house.state.joinpath("state.db").rename(house.path("lost.db"))
    for name in ("state.db-wal", "state.db-shm"):
        house.state.joinpath(name).unlink(missing_ok=True)
    looked = house.ok("check", "machine", "--identity", "recovery.key")
    said = " ".join(looked.out.split())
    assert f"a restore of everything takes backup {older[0]} of policy 'monthly-full'" in said
    assert f"newer, but not used: {aside} of policy 'monthly-full'" in said
    done = house.run("check", "secrets", "--production", "--identity", "recovery.key", "--json").document
    compared = {one["policy"]: one["backup"] for one in done["policies"]}
    assert compared["monthly-full"] == older[0]
    assert any(one["check"] == "passed-over" and aside in one["text"] for one in done["findings"])


def full_ones(house: Machine) -> list[str]:
    found = house.run("backups", "list", "--from-target", "east", "--json").document["backups"]
    return [one["backup"] for one in found if one["policy"] == "monthly-full"]


def test_a_listing_of_a_target_and_of_incidents_shows_it(house: Machine, aside: str) -> None:
    listed = house.run("backups", "list", "--from-target", "east")
    assert listed.failed_with(SetAside), listed
    assert any(aside in line and "quarantine: everything" in line for line in listed.out.splitlines())
    assert list(house.ok("incident", "list", "--json").document["quarantined"]) == [aside]


def test_a_target_that_cannot_be_marked_is_told_and_is_not_success(house: Machine) -> None:
    backup = ids(house)["monthly-full"]
    east = house.path("regions/east")
    east.rename(house.path("away"))
    east.write_text("no directory")
    words = ["--reason", "x", "--output", "q.json", "--quarantine-only", "--force"]
    done = house.run("incident", "open", "--backup", backup, *words)
    assert done.failed_with(StepIncomplete)
    assert "east: 1 backup not marked" in words_of(done)
