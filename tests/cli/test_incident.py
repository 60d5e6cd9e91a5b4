"""incident, as a person runs it on a bad day."""

from __future__ import annotations

import json

from strongroom.operations.errors import ConfirmationRequired, KeyStillNeeded, RunDegraded
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import Machine
from tests.cli.test_keys_list import configure


def keep_house(machine: Machine) -> None:
    for name in ("old", "new"):
        machine.ok("keygen", "--output", f"{name}.key")
    configure(machine, "old")
    machine.ok("backup", "--policy", "all", "--force")


house = furnished(stock, keep_house)


WORDS = ("incident", "open", "--key", "old", "--reason", "lost laptop", "--output", "record.json", "--force")


def test_a_key_that_policies_still_seal_for_is_refused(house: Machine) -> None:
    refused = house.run(*WORDS)
    assert refused.failed_with(KeyStillNeeded)
    assert not house.path("record.json").exists()


def test_one_command_sets_aside_seals_anew_and_writes_it_down(house: Machine) -> None:
    configure(house, "new")
    house.ok(*WORDS, "--secrets", "names.json")
    names = house.path("names.json")
    assert (sorted(json.loads(names.read_text())), names.stat().st_mode & 0o777) == (
        ["DATABASE_PASSWORD", "JWT_SECRET_KEY", "REDIS_PASSWORD"],
        0o600,
    )
    record = json.loads(house.path("record.json").read_text())
    [done] = record["sealed_anew"]
    assert (record["reason"], done["verified"]) == ("lost laptop", "compared")
    assert list(house.ok("incident", "list", "--json").document["quarantined"]) == [done["backup"]]
    words = ["restore", "--from-target", "region-a", "--full-restore", "--dry-run", "--identity", "new.key"]
    assert house.ok(*words, "--backup", done["new"]).code == 0
    house.ok("incident", "release", done["backup"], "--reason", "deleted by hand")
    assert house.ok("incident", "list", "--json").document["quarantined"] == {}


def test_one_that_did_not_reach_a_target_is_recorded_and_told_by_its_exit_code(house: Machine) -> None:
    configure(house, "new")
    here = house.state / "targets" / "region-c"
    here.rename(house.path("away"))
    here.write_text("no directory")
    assert house.run(*WORDS).failed_with(RunDegraded)
    assert house.path("record.json").exists()


def test_to_set_aside_alone_seals_nothing(house: Machine) -> None:
    configure(house, "new")
    house.ok(*WORDS, "--quarantine-only")
    assert json.loads(house.path("record.json").read_text())["sealed_anew"] == []


def test_nothing_is_done_without_a_yes(house: Machine) -> None:
    configure(house, "new")
    done = house.run(*(word for word in WORDS if word != "--force"))
    assert done.failed_with(ConfirmationRequired)
    assert house.ok("incident", "list", "--json").document["quarantined"] == {}


def test_the_commands_left_to_do_remove_the_old_copies_which_are_then_listed_as_deleted(
    house: Machine,
) -> None:
    configure(house, "new")
    house.ok(*WORDS)
    left = json.loads(house.path("record.json").read_text())["left_to_do"]
    [typed] = [line.partition("strongroom ")[2].split() for line in left if "--remove-replaced" in line]
    [old] = house.ok("incident", "list", "--json").document["quarantined"]
    assert house.ok("incident", "list", "--json").document["deleted"] == []
    house.ok(*typed)
    listed = house.ok("incident", "list", "--json").document
    assert (list(listed["quarantined"]), listed["deleted"]) == ([old], [old])
    assert "since deleted: no target has it any more" in house.ok("incident", "list").out
