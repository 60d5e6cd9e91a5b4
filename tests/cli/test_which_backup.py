"""One rule for which backup is read: junk moves no restore, and a newer one that is gone is said by all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import strongroom
from strongroom.container.errors import Stale
from strongroom.operations.errors import BackupQuarantined, NewestUnseen, TargetUnsound
from tests.cli.conftest import stock
from tests.cli.furnished import Furnish
from tests.cli.program import Done, Machine
from tests.cli.test_right_backup import everything, house, ids, keep_house, key, lost, signer, words_of
from tests.recover.test_recover import run as recover_py

__all__ = ["house", "lost"]

MONTHLY = "monthly-full"


def newer(house: Machine) -> tuple[str, str]:
    """Make another full backup, which the heads know that its run left; return the one before it, and it."""
    before = ids(house)[MONTHLY]
    house.set("JWT_SECRET_KEY", "CANARY-NEWER", "--type", "signing_key", "--tag", "priority=critical")
    house.ok("backup", "--policy", MONTHLY, "--force")
    return before, ids(house)[MONTHLY]


@pytest.fixture
def two(house: Machine, furnish: Furnish) -> tuple[str, str]:
    older, newest = furnish(house, stock, keep_house, newer)
    return str(older), str(newest)


def litter(folder: Path, many: int) -> None:
    """Put empty files there, as whoever may add objects to a target can, without any key."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, many + 1):
        (folder / f"{number:08}.json").touch()


def copy_of(house: Machine, lost: Machine) -> None:
    shutil.rmtree(lost.path("copy"))
    shutil.copytree(house.path("regions"), lost.path("copy"))


# -- junk ----------------------------------------------------------------------------------------


def test_junk_on_one_of_two_targets_moves_no_restore_on_the_own_host(
    house: Machine, two: tuple[str, str]
) -> None:
    litter(house.path(f"regions/east/quarantine/{two[1]}"), 201)
    done = house.run("restore", "--full-restore", "--dry-run", "--identity", "recovery.key")
    assert done.failed_with(TargetUnsound), done
    assert f"from backup {two[1]}" in words_of(done)
    assert "201 objects pose as marks there and count for nothing" in words_of(done)
    assert words_of(done).count(f"quarantine/{two[1]}/") == 1


@pytest.mark.parametrize("targets", [["copy/east"], ["copy/east", "copy/west"]])
def test_junk_moves_no_restore_elsewhere(
    house: Machine, lost: Machine, two: tuple[str, str], targets: list[str]
) -> None:
    copy_of(house, lost)
    for backup in two:
        litter(lost.path(f"copy/east/quarantine/{backup}"), 201)
    done = everything(lost, house, *(word for name in targets for word in ("--from-target", name)))
    assert done.failed_with(TargetUnsound), done
    assert lost.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-NEWER"


def test_verification_tells_junk_and_heeds_a_mark_below_it(
    house: Machine, lost: Machine, two: tuple[str, str]
) -> None:
    opening = key(lost, house)
    words = ["--reason", "under attack", "--output", "q.json", "--quarantine-only", "--force"]
    house.ok("incident", "open", "--backup", two[1], *words)
    copy_of(house, lost)
    marks = lost.path(f"copy/east/quarantine/{two[1]}")
    litter(marks.parent / two[0], 201)
    [mark] = marks.iterdir()
    content = mark.read_bytes()
    litter(marks, 201)
    mark.write_bytes(content)
    assert lost.run("backups", "verify", "copy/east", *opening, "--backup", two[1]).failed_with(
        BackupQuarantined
    )
    older = lost.run("backups", "verify", "copy/east", "--backup", two[0], *opening)
    assert older.failed_with(TargetUnsound), older


# -- a newer one that is gone -------------------------------------------------------------------


READS = {
    "backups verify": ("backups", "verify", "{target}"),
    "backups verify --opens": ("backups", "verify", "--opens", "{target}"),
    "backups show": ("backups", "show", "{target}"),
    "restore, dry": ("restore", "--full-restore", "--dry-run", "--from-target", "{target}"),
    "restore": ("restore", "--full-restore", "--overwrite-existing", "--from-target", "{target}"),
    "restore, one": ("restore", "--secret-name", "JWT_SECRET_KEY", "--from-target", "{target}"),
    "find": ("backups", "find", "*", "--from-target", "{target}"),
    "history": ("backups", "history", "JWT_SECRET_KEY", "--from-target", "{target}"),
    "list": ("list", "--from-target", "{target}"),
    "get": ("get", "JWT_SECRET_KEY", "--show-value", "--from-target", "{target}"),
}


def words(command: str, target: str) -> list[str]:
    return [word.format(target=target) for word in READS[command]]


def signers(command: str, found: Sequence[str | Path]) -> list[str | Path]:
    return [] if command == "backups show" else list(found)


def tells(done: Done, newest: str) -> bool:
    """Tell whether a command said that the newest backup is gone, and did not end with 0."""
    said = done.failed_with(NewestUnseen) or done.failed_with(Stale) or done.failed_with(TargetUnsound)
    return said and newest in words_of(done)


def delete(regions: Path, names: Sequence[str], backup: str) -> None:
    for name in names:
        for manifest in (regions / name / "manifests").glob(f"{backup}.json*"):
            manifest.unlink()


@pytest.mark.parametrize("command", READS)
@pytest.mark.parametrize("gone", [["east"], ["east", "west"]])
def test_a_deleted_newest_backup_is_said_on_the_own_host(
    house: Machine, two: tuple[str, str], command: str, gone: list[str]
) -> None:
    delete(house.path("regions"), gone, two[1])
    done = house.run(*words(command, "east"), *signers(command, ["--identity", "recovery.key"]))
    assert tells(done, two[1]), done


def test_a_deleted_newest_backup_is_said_before_a_recovery(house: Machine, two: tuple[str, str]) -> None:
    delete(house.path("regions"), ["east", "west"], two[1])
    house.state.joinpath("state.db").rename(house.path("lost.db"))  # as on a machine that takes over
    done = house.run("check", "machine", "--identity", "recovery.key")
    assert (done.code, two[1] in done.out + done.err) == (12, True), done


def test_a_deleted_newest_backup_is_said_to_a_program(
    house: Machine, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    by, region = signer(house), house.path("regions/east")
    monkeypatch.setenv("STRONGROOM_STATE_DIR", str(house.path("none")))
    opening = {"identity": house.path("recovery.key"), "signer": by}
    with strongroom.open(region, **opening) as backup:
        assert backup.less == ""
    delete(house.path("regions"), ["east"], two[1])
    with pytest.warns(strongroom.LessThanKnownWarning, match=two[1]), strongroom.open(region, **opening):
        pass


@pytest.mark.parametrize("command", [name for name in READS if "target" in READS[name][-1]])
def test_a_deleted_newest_backup_is_said_where_a_target_alone_is_left(
    house: Machine, lost: Machine, two: tuple[str, str], command: str
) -> None:
    copy_of(house, lost)
    delete(lost.path("copy"), ["east"], two[1])
    done = lost.run(*words(command, "copy/east"), *signers(command, key(lost, house)))
    assert tells(done, two[1]), done


def test_a_deleted_newest_backup_is_said_by_recover_py(
    house: Machine, lost: Machine, two: tuple[str, str]
) -> None:
    copy_of(house, lost)
    delete(lost.path("copy"), ["east"], two[1])
    pins = ("--signer", signer(house), "--private-key", lost.path("recovery.key"))
    done = recover_py(lost.path("copy/east"), *pins, "--list")
    assert (done.returncode, len(done.stdout.splitlines())) == (12, 3)
    assert f"A newer backup is known, and not here: {two[1]}" in done.stderr.decode()


def test_what_is_restored_though_a_newer_one_is_gone_is_what_was_named(
    house: Machine, lost: Machine, two: tuple[str, str]
) -> None:
    copy_of(house, lost)
    delete(lost.path("copy"), ["east"], two[1])
    refused = everything(lost, house, "--from-target", "copy/east")
    assert refused.failed_with(NewestUnseen), refused
    assert f"--backup {two[0]}" in words_of(refused)
    assert everything(lost, house, "--from-target", "copy/east", "--backup", two[0]).code == 0


def test_what_was_pruned_is_not_missed(house: Machine, lost: Machine, two: tuple[str, str]) -> None:
    copy_of(house, lost)
    shutil.rmtree(lost.path(f"copy/east/containers/{two[0]}"))
    delete(lost.path("copy"), ["east"], two[0])
    assert everything(lost, house, "--from-target", "copy/east").code == 0


@pytest.mark.parametrize("index", [[], ["--no-index"]])
@pytest.mark.parametrize("folder", ["containers", "manifests"])
def test_history_goes_on_past_a_damaged_backup_and_says_so(
    house: Machine, two: tuple[str, str], folder: str, index: list[str]
) -> None:
    for name in ("east", "west"):
        for damaged in house.path(f"regions/{name}/{folder}").glob(f"{two[0]}*/*"):
            damaged.write_bytes(damaged.read_bytes()[:-9])
        for damaged in house.path(f"regions/{name}/{folder}").glob(f"{two[0]}.json"):
            damaged.write_bytes(damaged.read_bytes()[:-9])
    done = house.run("backups", "history", "JWT_SECRET_KEY", "--identity", "recovery.key", *index)
    assert done.code == 70, done
    assert two[1] in done.out
    assert two[0] in words_of(done)
