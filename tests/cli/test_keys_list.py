"""keys and rotate: what each key opens, what would be lost without it, and moving to another."""

from __future__ import annotations

import pytest

from strongroom.container.errors import WrongKey
from strongroom.errors import UsageError
from strongroom.operations.errors import KeyStillNeeded
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import Machine

CONFIG = """
[keys.old]
kind = "hpke"
public_key_file = "{home}/old.key.pub"
identity_file = "{home}/old.key"

[keys.new]
kind = "hpke"
public_key_file = "{home}/new.key.pub"
identity_file = "{home}/new.key"

[policies.all]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = [{recipients}]
"""


def configure(machine: Machine, *recipients: str) -> None:
    named = ", ".join(f'"{name}"' for name in recipients)
    machine.path("strongroom.toml").write_text(CONFIG.format(home=machine.home, recipients=named))


def keep_house(machine: Machine) -> None:
    for name in ("old", "new"):
        machine.ok("keys", "new", "--output", f"{name}.key")
    configure(machine, "old")
    machine.ok("backup", "--policy", "all", "--force")


house = furnished(stock, keep_house)


def uses(machine: Machine) -> dict[str, dict]:  # type: ignore[type-arg]
    return {use["name"]: use for use in machine.ok("keys", "list", "--json").document["keys"]}


def counts(use: dict) -> tuple[int, int, int]:  # type: ignore[type-arg]
    return len(use["backups"]), len(use["only"]), len(use["by_copy"])


def test_what_each_key_opens_before_and_after_a_rotation(house: Machine) -> None:
    assert {name: counts(use) for name, use in uses(house).items()} == {"old": (1, 1, 0)}
    configure(house, "new")
    done = house.ok("keys", "rotate", "--json")
    assert [key["generation"] for key in done.document["backups"][0]["keys"]] == [2]
    assert {name: counts(use) for name, use in uses(house).items()} == {"old": (0, 0, 1), "new": (1, 1, 0)}
    shown = house.ok("keys", "list").out
    assert "Without new, 1 backup could not be opened any more" in shown


def test_a_key_that_a_backup_needs_is_not_retired(house: Machine) -> None:
    refused = house.run("keys", "retire", "old")
    assert refused.failed_with(KeyStillNeeded)
    assert "Policy 'all' seals to 'old'" in refused.err
    configure(house, "new")
    refused = house.run("keys", "retire", "old")
    assert refused.failed_with(KeyStillNeeded)
    assert "cannot be opened without 'old'" in refused.err
    house.ok("keys", "rotate")
    retired = house.ok("keys", "retire", "old", "--json").document
    assert retired["still_opens_copies_of"] == 1


def test_no_key_is_retired_while_a_backup_cannot_be_looked_at(house: Machine) -> None:
    configure(house, "new")
    house.ok("keys", "rotate")
    for region in ("a", "b", "c"):
        for manifest in (house.state / "targets" / f"region-{region}" / "manifests").glob("*.json"):
            manifest.unlink()
    refused = house.run("keys", "retire", "old")
    assert refused.failed_with(KeyStillNeeded)
    assert "could not be read" in refused.err


def test_rotating_again_does_nothing_unless_a_new_key_version_is_said_to_be_there(house: Machine) -> None:
    configure(house, "new")
    house.ok("keys", "rotate", "all")
    [key] = house.ok("keys", "rotate", "all", "--json").document["backups"][0]["keys"]
    assert (key["made"], key["generation"]) == (False, 2)
    [key] = house.ok("keys", "rotate", "all", "--renew", "--json").document["backups"][0]["keys"]
    assert (key["made"], key["generation"]) == (True, 3)


def test_without_the_old_key_nothing_is_lost(house: Machine) -> None:
    configure(house, "new")
    hidden = house.path("old.key")
    text = house.path("strongroom.toml").read_text()
    house.path("strongroom.toml").write_text(text.replace(f'identity_file = "{hidden}"\n', ""))
    done = house.run("keys", "rotate")
    assert done.failed_with(WrongKey)
    assert "WrongKey: Sealed to hpke (old)" in done.out
    configure(house, "new")
    house.ok("keys", "rotate")


def test_after_a_re_encryption_old_copies_are_named_until_they_are_deleted(house: Machine) -> None:
    configure(house, "new")
    done = house.ok("keys", "rotate", "--re-encrypt", "--json").document
    assert done["backups"][0]["new"].endswith("-r1")
    assert {one["target"] for one in done["old_key_still_opens"]} == {"region-a", "region-b", "region-c"}
    assert {name: counts(use) for name, use in uses(house).items()} == {"old": (1, 1, 0), "new": (1, 1, 0)}


@pytest.mark.parametrize("words", [["nothing"], ["--backup", "x"]])
def test_what_is_not_there_is_refused(house: Machine, words: list[str]) -> None:
    assert house.run("keys", "rotate", *words).failed_with(UsageError)


def test_what_is_replaced_is_deleted_only_when_asked(house: Machine) -> None:
    configure(house, "new")
    assert house.run("keys", "rotate", "--remove-replaced").failed_with(UsageError)
    done = house.ok("keys", "rotate", "--re-encrypt", "--remove-replaced", "--json").document
    [result] = done["backups"]
    assert sorted(result["removed"]) == ["region-a", "region-b", "region-c"]
    assert done["old_key_still_opens"] == []
    assert {name: counts(use) for name, use in uses(house).items()} == {"new": (1, 1, 0)}


LEGS = """
[keys.old]
kind = "hpke"
public_key_file = "{home}/old.key.pub"

[keys.new]
kind = "hpke"
public_key_file = "{home}/new.key.pub"

[keys.both]
kind = "all-of"
legs = [["old"], ["new"]]

[policies.all]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = ["both"]
"""


def test_a_leg_of_a_composition_is_not_retired_while_a_policy_or_a_backup_needs_it(house: Machine) -> None:
    house.path("strongroom.toml").write_text(LEGS.format(home=house.home))
    house.ok("backup", "--policy", "all", "--force")
    refused = house.run("keys", "retire", "new")
    assert refused.failed_with(KeyStillNeeded)
    assert "seals to 'new'" in refused.err
    rest = LEGS.replace('recipients = ["both"]', 'recipients = ["old"]').format(home=house.home)
    house.path("strongroom.toml").write_text(rest)
    refused = house.run("keys", "retire", "new")
    assert refused.failed_with(KeyStillNeeded)
    assert "cannot be opened without 'new'" in refused.err
    assert "TOGETHER" in house.ok("keys", "list").out


def test_a_key_for_names_alone_is_listed_and_is_not_retired_while_the_next_index_needs_it(
    house: Machine,
) -> None:
    house.ok("keys", "new", "--output", "operators.key")
    file = house.path("strongroom.toml")
    before = file.read_text()
    key = f'[keys.operators]\nkind = "hpke"\npublic_key_file = "{house.home}/operators.key.pub"\n'
    file.write_text(f'{before}{key}[index]\nrecipients = ["operators"]\n')
    house.ok("backup", "--policy", "all", "--force")
    found = uses(house)
    assert counts(found["operators"]) == (0, 0, 0)
    assert len(found["operators"]["indexes"]) == 1
    assert len(found["old"]["indexes"]) == 1, "the one before"
    refused = house.run("keys", "retire", "operators")
    assert refused.failed_with(KeyStillNeeded)
    assert "[index] names 'operators'" in refused.err
    file.write_text(f"{before}{key}")
    retired = house.ok("keys", "retire", "operators")
    assert "It opens the indexes of names of 1 backup" in " ".join(retired.out.split())
