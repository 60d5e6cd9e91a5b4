"""shred, as a person runs it: typed confirmation, a proof, and an exit code for what is pending."""

from __future__ import annotations

import json

import pytest

from strongroom.cli.errors import ShredPending
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.errors import (
    BackupShredded,
    ConfirmationRequired,
    NotErasable,
    NothingSelected,
    OnLegalHold,
)
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import Machine
from tests.cli.test_store import on_a_terminal

CONFIG = """
[keys.y2026]
kind = "hpke"
public_key_file = "y2026.key.pub"
identity_file = "y2026.key"

[keys.y2027]
kind = "hpke"
public_key_file = "y2027.key.pub"
identity_file = "y2027.key"

[policies.customers]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = ["{key}"]
{more}
"""


def configure(machine: Machine, key: str, more: str = "erasable = true") -> None:
    machine.path("strongroom.toml").write_text(CONFIG.format(key=key, more=more))


def keep_house(machine: Machine) -> None:
    for name in ("y2026", "y2027"):
        machine.ok("keys", "new", "--output", f"{name}.key")
    configure(machine, "y2026")
    machine.ok("backup", "--policy", "customers", "--force")
    configure(machine, "y2027")


house = furnished(stock, keep_house)


def only_backup(machine: Machine) -> str:
    [entry] = machine.ok("backups", "list", "--json").document["backups"]
    return str(entry["backup"])


def test_it_is_planned_confirmed_by_name_done_and_proven(house: Machine) -> None:
    backup = only_backup(house)
    planned = house.ok("keys", "shred", "--policy", "customers", "--dry-run", "--json").document
    assert [(one["backup"], one["secrets"]) for one in planned["backups"]] == [(backup, 3)]
    assert house.run("keys", "shred", "--policy", "customers").failed_with(ConfirmationRequired)
    assert house.run("keys", "shred", "--policy", "customers", "--confirm", "custom").failed_with(
        ConfirmationRequired
    )
    assert house.path("y2026.key").exists()
    done = house.ok("keys", "shred", "--policy", "customers", "--confirm", "customers", "--json")
    assert [one["judged"]["backup"] for one in done.document["backups"]] == [backup]
    assert done.document["backups"][0]["judged"]["verdict"] == "shredded"
    assert "become unreadable for good" in done.err
    assert not house.path("y2026.key").exists()
    status = house.ok("keys", "shred", "--status", "--json").document
    assert next(event["kind"] for event in status["proof"]) == "shred.intent"
    assert [key["proven"] for key in status["keys"]] == [False], "a file is as gone as its medium forgets it"
    shown = json.dumps(status)
    assert "DATABASE_PASSWORD" not in shown
    assert "CANARY" not in shown


def test_a_person_types_the_policys_name_and_a_yes_is_none(house: Machine) -> None:
    words = ("keys", "shred", "--policy", "customers")
    code, shown = on_a_terminal(house, *words, typed=b"yes\n")
    assert (code, "Type the policy's name" in shown) == (ConfirmationRequired.exit_code, True)
    assert house.path("y2026.key").exists()
    code, shown = on_a_terminal(house, *words, typed=b"customers\n")
    assert (code, house.path("y2026.key").exists()) == (0, False)


def test_restoring_it_says_that_it_was_shredded_and_the_rest_goes_on(house: Machine) -> None:
    backup = only_backup(house)
    house.ok("backup", "--policy", "customers", "--force")
    house.ok("keys", "shred", "--policy", "customers", "--backup", backup, "--confirm", "customers")
    words = ("restore", "--from-target", "region-a", "--full-restore", "--dry-run")
    refused = house.run(*words, "--backup", backup)
    assert refused.failed_with(BackupShredded), refused
    assert "was shredded" in refused.err
    assert house.ok(*words, "--backup", only_backup(house)).code == 0, (
        "with the destroyed key still configured"
    )
    house.ok("backup", "--policy", "customers", "--force")


def test_what_cannot_be_finished_is_pending_with_a_code_and_resumed(house: Machine) -> None:
    place, away = house.state / "targets" / "region-b", house.state / "away"
    place.rename(away)  # a new, empty one is made in its place
    pending = house.run("keys", "shred", "--policy", "customers", "--confirm", "customers", "--json")
    assert pending.failed_with(ShredPending), pending
    [one] = pending.document["backups"]
    assert (one["judged"]["verdict"], one["judged"]["until"]) == ("pending", "")
    assert house.run("keys", "shred", "--resume").failed_with(ShredPending)
    assert "pending until a day that nobody knows" in house.ok("keys", "shred", "--status").out
    assert "another medium may be in its place" in house.ok("keys", "shred", "--status").out
    place.rename(house.state / "empty")
    away.rename(place)
    assert (
        house.ok("keys", "shred", "--resume", "--json").document["backups"][0]["judged"]["verdict"]
        == "shredded"
    )
    assert "Nothing is pending" in house.ok("keys", "shred", "--resume").out


def test_a_medium_that_is_destroyed_is_somebodys_word_and_stays_on_record_as_that(house: Machine) -> None:
    place = house.state / "targets" / "region-b"
    words = ("keys", "shred", "--lost", "region-b", "--reason", "the disk was burnt")
    assert house.run(*words).failed_with(UsageError), "nothing waits for it"
    place.rename(house.state / "away")
    assert house.run("keys", "shred", "--policy", "customers", "--confirm", "customers").failed_with(
        ShredPending
    )
    [done] = house.ok(*words, "--json").document["backups"]
    assert done["judged"]["verdict"] == "shredded"
    assert "the disk was burnt" in done["judged"]["reasons"][0]


@pytest.mark.parametrize(
    ("more", "kind"),
    [("", NotErasable), ('erasable = true\nlegal_hold = "case 4711"', OnLegalHold)],
    ids=["immutable", "legal hold"],
)
def test_what_may_not_be_shredded_is_refused(house: Machine, more: str, kind: type[StrongroomError]) -> None:
    configure(house, "y2027", more)
    assert house.run("keys", "shred", "--policy", "customers", "--confirm", "customers").failed_with(kind)
    assert house.path("y2026.key").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--policy", "customers", "--before", "yesterday"],
        ["--status", "--dry-run"],
        ["--resume", "--backup", "x"],
        ["--policy", "customers", "--status"],
    ],
)
def test_words_that_do_not_fit_are_refused(house: Machine, words: list[str]) -> None:
    assert house.run("keys", "shred", *words).failed_with(UsageError)


def test_only_what_is_older_than_a_date_is_meant(house: Machine) -> None:
    assert house.run(
        "keys", "shred", "--policy", "customers", "--before", "2001-01-01", "--dry-run"
    ).failed_with(NothingSelected)
    house.ok("keys", "shred", "--policy", "customers", "--before", "2101-01-01", "--dry-run")
