"""recover after the damage was backed up: the newest backup is not taken for all there was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from strongroom.operations.errors import RunDegraded
from tests.cli.program import Done, Machine
from tests.cli.terminal import Terminal
from tests.cli.test_recover_anywhere import POLICIES, TARGETS, lose_store, newest, signer_of

NAMES = [f"APP_{number:02}" for number in range(12)]
KEPT, DELETED = NAMES[:4], NAMES[4:]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with a backup of all; nobody writes to it, each takes a copy."""
    machine = Machine(tmp_path_factory.mktemp("less") / "home")
    machine.path("strongroom.toml").write_text(f'state_dir = "state"\n{TARGETS}{POLICIES}')
    machine.ok("keys", "new", "--output", "recovery.key")
    for name in NAMES:
        machine.set(name, f"CANARY-{name}")
    machine.ok("backup", "--policy", "nightly", "--force")
    return machine.home


@pytest.fixture
def house(before: Path, tmp_path: Path) -> Machine:
    home = tmp_path / "home"
    shutil.copytree(before, home)
    return Machine(home)


def delete_most_and_back_up(machine: Machine) -> None:
    for name in DELETED:
        machine.ok("secrets", "delete", name, "--force")
    machine.run("backup", "--policy", "nightly", "--force")


def recover(machine: Machine, *words: str) -> Done:
    return machine.run("recover", "--identity", "recovery.key", "--answer", "restore=yes", *words, "--json")


def names(machine: Machine) -> list[str]:
    return sorted(one["name"] for one in machine.ok("list", "--json").document["secrets"])


@pytest.mark.parametrize("on", ["house", "bare"])
def test_what_the_newest_backup_lacks_comes_back_from_earlier_ones_each_with_its_date(
    house: Machine, tmp_path: Path, on: str
) -> None:
    whole = newest(house)
    delete_most_and_back_up(house)
    machine, words = house, ["--answer", "overwrite=no"]
    if on == "bare":
        machine = Machine(tmp_path / "new")
        shutil.copy(house.path("recovery.key"), machine.path("recovery.key"))
        shutil.copytree(house.path("region-a"), machine.path("copy"))
        words = ["--from-target", "copy", "--signer", signer_of(house)]
    done = recover(machine, *words)
    assert done.document["lost"] == ["local"], done
    assert "where 12 were expected" in done.err
    assert "8 secrets are not in the newest backup, and in earlier ones" in done.err
    assert done.err.count(f", from {whole}\n") == len(DELETED)
    restored = {one["check"]: one["said"] for one in done.document["steps"][3]["proofs"]}
    assert restored["from earlier backups"] == [f"8 secrets from backup {whole}"]
    assert names(machine) == NAMES
    assert {machine.ok("get", name, "--show-value").out for name in DELETED} == {
        f"CANARY-{name}" for name in DELETED
    }
    assert [step["ended"] for step in done.document["steps"][:5]] == ["done"] * 5, done


def test_the_newest_alone_is_restored_if_somebody_says_so(house: Machine) -> None:
    delete_most_and_back_up(house)
    lose_store(house)
    done = recover(house, "--answer", "missing=newest")
    assert done.code == RunDegraded.exit_code, done
    assert names(house) == KEPT
    assert any("8 secrets of earlier backups are not restored" in one for one in done.document["left_to_do"])


def test_a_newest_backup_that_is_gone_from_every_target_is_said_and_left_to_look_for(house: Machine) -> None:
    house.set("APP_00", "CANARY-newer")
    house.ok("backup", "--policy", "nightly", "--force")
    gone = newest(house)
    for file in house.home.glob(f"region-*/manifests/{gone}*"):
        file.unlink()
    lose_store(house)
    done = recover(house)
    assert done.code == RunDegraded.exit_code, done
    assert any(gone in line and "is newer" in line for line in done.document["left_to_do"]), done
    assert names(house) == NAMES


def test_enter_takes_all_of_it_with_every_name_on_the_screen(house: Machine) -> None:
    delete_most_and_back_up(house)
    with Terminal(house, "recover", "--identity", "recovery.key") as person:
        person.answer("Which sources are lost? [local]", "")
        for question in ("in wrong hands?", "restored into?"):
            person.answer(question, "")
        for name in DELETED:
            person.await_words(f"    {name}: value of 20")
        person.answer("or 'newest' alone? [all]", "")
        person.answer("Write into 'local' now?", "y")
        code = person.end()
    assert code in (0, RunDegraded.exit_code), person.said
    assert names(house) == NAMES


def test_after_a_mass_overwrite_the_last_sound_backup_is_the_safe_answer(house: Machine) -> None:
    file = house.path("strongroom.toml")
    here = 'public_key_file = "recovery.key.pub"'
    file.write_text(file.read_text().replace(here, f'{here}\nidentity_file = "recovery.key"'))
    sound = newest(house)
    for name in NAMES:
        house.set(name, "CANARY-scrambled")
    assert house.run("schedule", "run", "drift").failed_with(RunDegraded)
    house.ok("backup", "--policy", "nightly", "--force")
    done = recover(house, "--answer", "overwrite=yes")
    assert done.document["lost"] == ["local"], done
    assert [part["backup"] for part in done.document["parts"]] == [sound], done
    assert house.ok("get", NAMES[0], "--show-value").out == f"CANARY-{NAMES[0]}"
