"""A target that was emptied or rolled back is noticed, put on record, and mended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from strongroom.container.errors import MissingPiece, Stale
from strongroom.operations.errors import TargetUnsound
from tests.cli.program import Machine
from tests.cli.test_right_backup import house, ids, words_of

__all__ = ["house"]


def good_on(house: Machine, target: str) -> dict[str, bool]:
    found = house.ok("backups", "replicas", "--json").document["replicas"]
    return {one["backup"]: one["good"] for one in found if one["target"] == target}


def hide(house: Machine, target: str, backup: str) -> None:
    house.path(f"regions/{target}/manifests/{backup}.json").unlink()


def test_a_hidden_manifest_is_told_by_verification_and_mended_by_the_next_repair(house: Machine) -> None:
    newest = ids(house)["daily-metadata"]
    hide(house, "east", newest)
    done = house.run("backups", "verify", "east")
    assert done.failed_with(Stale)
    assert newest in words_of(done)
    assert "strongroom backups repair --target east" in words_of(done)
    assert good_on(house, "east")[newest] is False
    house.ok("backups", "repair")
    assert good_on(house, "east")[newest] is True
    house.ok("backups", "verify", "east")


def test_an_emptied_target_is_told_by_verification_and_brought_up_by_one_command(house: Machine) -> None:
    shutil.rmtree(house.path("regions/east/manifests"))
    shutil.rmtree(house.path("regions/east/containers"))
    done = house.run("backups", "verify", "east", "--backup", ids(house)["monthly-full"])
    assert done.failed_with(MissingPiece)
    assert "the catalog has as good there" in words_of(done)
    assert set(good_on(house, "east").values()) == {False}
    house.ok("backups", "repair", "--target", "east")
    assert (set(good_on(house, "east").values()), len(good_on(house, "east"))) == ({True}, 3)


def test_a_rollback_shows_against_another_target_where_there_is_no_catalog(house: Machine) -> None:
    newest = ids(house)["daily-metadata"]
    hide(house, "east", newest)
    house.path("state/state.db").unlink()
    for extra in ("state.db-wal", "state.db-shm"):
        house.path(f"state/{extra}").unlink(missing_ok=True)
    done = house.run("backups", "verify", "east")
    assert done.failed_with(Stale)
    assert f"A newer backup is known: backup {newest}" in words_of(done)
    assert "'east' does not show it and was to have it" in words_of(done)


def test_a_repair_without_a_name_notices_what_a_target_no_longer_shows(house: Machine) -> None:
    backup = ids(house)["monthly-full"]
    hide(house, "west", backup)
    done = house.ok("backups", "repair")
    assert f"'west' does not have {backup} as is on record: its manifest is not there" in words_of(done)
    assert house.path(f"regions/west/manifests/{backup}.json").exists()


@pytest.mark.parametrize("how", ["--all", "--target=west"])
def test_a_repair_of_all_notices_missing_containers_and_an_older_manifest(house: Machine, how: str) -> None:
    found = ids(house)
    west = house.path("regions/west")
    shutil.rmtree(west / "containers" / found["monthly-full"])
    older = west / "manifests" / f"{found['weekly-critical']}.json"
    newer = west / "manifests" / f"{found['daily-metadata']}.json"
    newer.write_bytes(older.read_bytes())
    done = house.ok("backups", "repair", how)
    assert "1 of 1 container is missing" in words_of(done)
    assert "its manifest is not the one on record" in words_of(done)
    assert (west / "containers" / found["monthly-full"]).exists()
    house.ok("backups", "verify", "west", "--depth", "digest")
    assert "Nothing to repair" in house.ok("backups", "repair", "--all").out


def test_deleted_containers_are_noticed_by_the_alarm_and_put_on_record(house: Machine) -> None:
    backup = ids(house)["monthly-full"]
    shutil.rmtree(house.path(f"regions/west/containers/{backup}"))
    done = house.run("alerts", "send")
    assert (done.code != 0, backup in done.out) == (True, True)
    assert good_on(house, "west")[backup] is False
    house.ok("backups", "repair")
    assert good_on(house, "west")[backup] is True


def test_a_restore_puts_a_damaged_replica_on_record(house: Machine) -> None:
    backup = ids(house)["monthly-full"]
    for file in Path(house.path(f"regions/east/containers/{backup}")).iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
    done = house.run("restore", "--full-restore", "--identity", "recovery.key")
    assert done.failed_with(TargetUnsound)
    assert good_on(house, "east")[backup] is False


def test_a_health_check_puts_a_missing_manifest_on_record(house: Machine) -> None:
    backup = ids(house)["monthly-full"]
    hide(house, "west", backup)
    assert house.run("check", "backups", "--check-accessibility").failed_with(MissingPiece)
    assert good_on(house, "west")[backup] is False
