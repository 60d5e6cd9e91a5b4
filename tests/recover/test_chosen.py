"""Of the backups on a target recover.py takes the one that brings everything back, and says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import furnish, home, machine
from tests.cli.program import Machine
from tests.cli.test_right_backup import NAMES, house, ids
from tests.recover.test_recover import run

__all__ = ["furnish", "home", "house", "machine"]


@pytest.fixture
def east(house: Machine) -> Path:
    """A target with the three policies of a fresh installation: the newest backup is one of names."""
    return house.path("regions/east")


def opened(house: Machine, *words: str | Path) -> tuple[int, str, str]:
    done = run(*words, "--private-key", house.path("recovery.key"))
    return done.returncode, done.stdout.decode(), " ".join(done.stderr.decode().split())


def test_everything_comes_out_though_newer_backups_hold_less(house: Machine, east: Path) -> None:
    """It took the newest, of names alone: an empty folder, "3 secrets", and exit code 0."""
    out = house.path("out")
    code, _, said = opened(house, east, "--out", out)
    assert (code, sorted(file.name for file in out.iterdir())) == (0, NAMES)
    assert (out / "JWT_SECRET_KEY").read_text() == "CANARY-JWT"
    found = ids(house)
    assert f"backup {found['monthly-full']} of policy 'monthly-full', made " in said
    assert f"passed over: {found['daily-metadata']} of policy 'daily-metadata': it holds no values" in said
    assert f"{found['weekly-critical']} of policy 'weekly-critical': it holds only secrets tagged " in said


def test_one_secret_is_found_in_the_newest_backup_that_holds_it(house: Machine, east: Path) -> None:
    code, value, said = opened(house, east, "--get", "JWT_SECRET_KEY")
    assert (code, value, "'weekly-critical', made" in said) == (0, "CANARY-JWT", True)
    code, value, said = opened(house, east, "--get", "REDIS_PASSWORD")
    assert (code, value, "'monthly-full', made" in said) == (0, "CANARY-REDIS", True)
    assert f"'REDIS_PASSWORD' is not in backup {ids(house)['weekly-critical']}" in said
    code, value, _ = opened(house, east, "--get", "NO_SUCH")
    assert (code, value) == (12, "")


def test_a_backup_of_names_alone_gives_no_empty_folder_and_no_success(house: Machine, east: Path) -> None:
    nightly, out = ids(house)["daily-metadata"], house.path("out")
    for words in (["--out", out], ["--get", "JWT_SECRET_KEY"]):
        code, value, said = opened(house, east, "--backup", nightly, *words)
        assert (code, value, "holds no values" in said) == (12, "", True)
    assert not out.exists()
    assert sorted(opened(house, east, "--backup", nightly, "--list")[1].split()) == NAMES


def test_where_no_backup_is_of_everything_a_part_comes_out_and_is_no_success(
    house: Machine, east: Path
) -> None:
    (east / "manifests" / f"{ids(house)['monthly-full']}.json").unlink()
    code, value, said = opened(house, east, "--list")
    assert (code, value.split()) == (12, ["DATABASE_PASSWORD", "JWT_SECRET_KEY"])
    assert "There is no backup of everything here" in said
    assert opened(house, east, "--backup", ids(house)["weekly-critical"], "--list")[0] == 0


def test_a_backup_in_quarantine_is_passed_over_by_a_mark_that_the_installation_signed(
    house: Machine, east: Path
) -> None:
    house.set("JWT_SECRET_KEY", "CANARY-NEWER")
    house.ok("backup", "--policy", "monthly-full", "--force")
    newest = ids(house)["monthly-full"]
    words = ["--reason", "made while under attack", "--output", "q.json", "--quarantine-only", "--force"]
    house.ok("incident", "open", "--backup", newest, *words)
    code, _, said = opened(house, east, "--out", house.path("out"))
    assert (code, house.path("out/JWT_SECRET_KEY").read_text()) == (70, "CANARY-JWT")
    assert f"passed over: {newest} of policy 'monthly-full': it is in quarantine since" in said
    assert opened(house, east, "--backup", newest, "--list")[:2] == (4, "")
    code, _, said = opened(house, east, "--backup", newest, "--use-quarantined", "--list")
    assert (code, f"CAREFUL: backup {newest} is used, and it is in quarantine since" in said) == (0, True)
    [mark] = (east / "quarantine" / newest).iterdir()
    shutil.copyfile(mark, mark.with_name("00000009.json"))
    mark.unlink()
    code, value, said = opened(house, east, "--get", "JWT_SECRET_KEY")
    assert (code, "left aside: quarantine/" in said, value) == (70, True, "CANARY-NEWER")
