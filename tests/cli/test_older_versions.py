"""The versions that lie inside a backup: found, shown, brought back, and taken back again."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from strongroom.errors import UsageError
from strongroom.sources.errors import VersionNotFound
from strongroom.system.errors import WouldOverwrite
from tests.cli.furnished import furnished
from tests.cli.program import Done, Machine
from tests.cli.test_find import CONFIG

NAME = "db/password"


def keep_house(machine: Machine) -> None:
    """Two nights: a value is overwritten three times before each."""
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(CONFIG.format(home=machine.home))
    for night in range(2):
        for number in range(3):
            machine.set(NAME, f"CANARY-{3 * night + number + 1}")
        machine.ok("backup", "--policy", "nightly", "--force")


house = furnished(keep_house)


@pytest.fixture
def nights(house: Machine) -> list[str]:
    found = house.ok("backups", "list", "--json").document["backups"]
    return [one["backup"] for one in reversed(found)]


def versions(done: Done) -> list[dict[str, Any]]:
    [one] = done.document["secrets"]
    return list(one["versions"])


def value(house: Machine) -> str:
    return house.ok("get", NAME, "--show-value").out


@pytest.mark.parametrize("more", [[], ["--no-index"]])
def test_a_search_names_the_older_versions_in_each_backup(
    house: Machine, nights: list[str], more: list[str]
) -> None:
    told = [
        (one["version"], [(run["first"], run["last"], run["has_value"]) for run in one["older"]])
        for one in versions(house.ok("backups", "find", NAME, "--json", *more))
    ]
    assert told == [(6, [(1, 5, True)]), (3, [(1, 2, True)])]
    narrow = versions(house.ok("backups", "find", NAME, "--version", "2", "--json", *more))
    assert [(one["version"], [at["backup"] for at in one["backups"]]) for one in narrow] == [
        (2, [nights[1], nights[0]])
    ]
    assert house.run("backups", "find", NAME, "--version", "7", *more).failed_with(VersionNotFound)


def test_a_history_names_every_version_when_it_was_written_and_who_has_it(
    house: Machine, nights: list[str]
) -> None:
    [source] = house.ok("backups", "history", NAME, "--json").document["sources"]
    told = [(one["version"], one["has_value"], one["backups"]) for one in source["versions"]]
    both = [nights[1], nights[0]]
    assert told == [
        *((number, True, [nights[1]]) for number in (6, 5, 4)),
        *((number, True, both) for number in (3, 2, 1)),
    ]
    assert all(one["written_at"] for one in source["versions"]), "the middle of a span too"


def test_the_command_that_is_told_brings_an_older_value_back_and_is_undone(house: Machine) -> None:
    said = house.ok("backups", "find", NAME, "--version", "2").out
    [line] = [one for one in said.splitlines() if one.startswith("To bring version 2 back: ")]
    words = shlex.split(line.partition("back: strongroom ")[2])
    assert house.run(*words).failed_with(WouldOverwrite)
    assert "its value becomes the newest" in house.ok(*words, "--dry-run").out
    done = house.ok(*words, "--overwrite-existing", "--json").document
    assert (done["changed"], value(house)) == (1, "CANARY-2")
    held = house.ok("get", NAME, "--json").document
    assert [one["number"] for one in held["versions"]] == [1, 2, 3, 4, 5, 6, 7], "one version came on top"
    house.ok(*shlex.split(done["undo_by"][0])[1:], "--force")
    assert value(house) == "CANARY-6"


def test_a_version_that_the_newest_backup_lacks_comes_from_an_older_one(
    house: Machine, nights: list[str]
) -> None:
    house.ok("secrets", "delete", NAME, "--force")
    house.set(NAME, "CANARY-NEW")
    house.ok("backup", "--policy", "nightly", "--force")
    words = ("restore", "--secret-name", NAME, "--overwrite-existing")
    assert house.run(*words, "--version", "9").failed_with(VersionNotFound)
    assert f"from backup {nights[1]}" in house.ok(*words, "--version", "5").err
    assert value(house) == "CANARY-5"


def test_a_secret_that_is_gone_comes_back_as_it_was_at_that_version(house: Machine) -> None:
    house.ok("secrets", "delete", NAME, "--force")
    house.ok("restore", "--secret-name", NAME, "--version", "4")
    assert value(house) == "CANARY-4"
    held = house.ok("get", NAME, "--json").document
    assert [one["number"] for one in held["versions"]] == [1, 2, 3, 4]


def test_a_plan_of_an_older_version_does_that_and_nothing_else(house: Machine) -> None:
    words = ("restore", "--secret-name", NAME, "--version", "4", "--overwrite-existing")
    house.ok(*words, "--plan-out", "plan")
    house.ok("restore", "--plan", "plan")
    assert value(house) == "CANARY-4"


@pytest.mark.parametrize("where", [[], ["--from-target", "east"], ["--backup-file", "full.sr"]])
def test_an_older_value_is_shown_wherever_it_lies(house: Machine, where: list[str]) -> None:
    house.ok("backup", "full.sr", "--include-values", "--force", "--recipient", "recovery")
    assert house.ok("get", NAME, "--version", "2", "--show-value", *where).out == "CANARY-2"
    document = house.ok("get", NAME, "--version", "2", "--json", *where).document
    assert (document["version"], "value" in document) == (2, False)
    said = house.ok("get", NAME, *where).out
    assert "1-6 (--version shows another one)" in said
    none = house.run("get", NAME, "--version", "12", *where)
    assert none.failed_with(VersionNotFound)
    assert "It has 1-6." in " ".join(none.err.split())


def test_a_version_of_a_list_of_names_has_no_value(house: Machine) -> None:
    house.ok("backup", "--policy", "names", "--force")
    done = house.run(
        "get", NAME, "--version", "2", "--show-value", "--from-target", "east", "--policy", "names"
    )
    assert done.code != 0
    assert "CANARY" not in done.out
    file = house.run("get", NAME, "--version", "x")
    assert file.failed_with(UsageError)
