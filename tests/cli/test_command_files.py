"""Files that `backup FILE` wrote, in the procedures for a key that leaked or is done with."""

from __future__ import annotations

import json

import pytest

from strongroom.cli.errors import SignersUnsettled
from strongroom.container.errors import MissingPiece, UntrustedSigner, WrongKey
from strongroom.errors import UsageError
from strongroom.keys.errors import KeyUnproven
from strongroom.operations.errors import KeyStillNeeded, NothingSelected, StepIncomplete
from strongroom.sources.errors import EmptySource
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import PASSPHRASE, Machine

CONFIG = """
[keys.old]
kind = "hpke"
public_key_file = "{home}/old.key.pub"
identity_file = "{home}/old.key"

[keys.new]
kind = "hpke"
public_key_file = "{home}/new.key.pub"
identity_file = "{home}/new.key"
"""
INCIDENT = (
    *("incident", "open", "--key", "old", "--reason", "leak", "--force"),
    *("--output", "incident.json", "--secrets", "change.json"),
)
REENCRYPT = (
    *("keys", "replace", "--current-key", "old.key", "--new-key", "new.key"),
    "--re-encrypt-backups",
)


def keep_house(machine: Machine) -> None:
    for name in ("old", "new"):
        machine.ok("keys", "new", "--output", f"{name}.key")
    machine.path("strongroom.toml").write_text(CONFIG.format(home=machine.home))
    machine.ok("backup", "full.sr", "--include-values", "--recipient", "old", "--force")


house = furnished(stock, keep_house)


def backup_id(machine: Machine) -> str:
    found: list[dict[str, str]] = machine.ok("backups", "list", "--json").document["backups"]
    return found[0]["backup"]


def test_an_incident_counts_the_file_and_lists_its_secrets(house: Machine) -> None:
    done = house.run(*INCIDENT)
    assert done.failed_with(StepIncomplete)
    assert "no policy names their recipients" in " ".join(done.err.split())
    record = json.loads(house.path("incident.json").read_text())["body"]
    assert [one["file"] for one in record["affected"]] == [str(house.path("full.sr"))]
    assert "Files: re-encrypt them with 'strongroom keys replace" in " ".join(done.out.split())
    changed = json.loads(house.path("change.json").read_text())
    assert sorted(changed) == ["DATABASE_PASSWORD", "JWT_SECRET_KEY", "REDIS_PASSWORD"]


def test_a_key_is_retired_once_its_files_are_sealed_anew_and_the_old_ones_deleted(house: Machine) -> None:
    refused = house.run("keys", "retire", "old")
    assert refused.failed_with(KeyStillNeeded)
    assert "cannot be opened without" in refused.err
    house.ok(*REENCRYPT)
    assert house.run("keys", "retire", "old").failed_with(KeyStillNeeded)
    done = house.ok(*INCIDENT)
    assert "Originals: delete those of what is re-encrypted already" in done.out
    [kept] = house.home.glob("full.sr.*.superseded")
    kept.unlink()
    assert house.ok("keys", "retire", "old").code == 0


def test_keys_of_files_are_tried(house: Machine) -> None:
    [tried] = house.ok("check", "keys", "--json").document["tried"]
    assert (tried["label"], tried["outcome"]) == ("old", "opened")


def test_a_file_that_is_no_longer_there_is_named_until_somebody_says_that_it_is_gone(house: Machine) -> None:
    backup = backup_id(house)
    house.path("full.sr").rename(house.path("moved.sr"))
    opened = house.run(*INCIDENT)
    assert opened.failed_with(MissingPiece)
    assert f"no longer at {house.path('full.sr')}" in opened.out
    record = json.loads(house.path("incident.json").read_text())["body"]
    assert [(one["backup"], one["looked_at"]) for one in record["affected"]] == [(backup, False)]
    assert f"{backup}: its secrets are not listed" in opened.out
    assert house.run("keys", "retire", "old").failed_with(KeyStillNeeded)
    checked = house.run("check", "keys")
    assert checked.failed_with(KeyUnproven)
    assert f"backups gone {backup}" in checked.out
    assert "No sealed backup is kept" not in checked.out

    shown = house.ok("backups", "gone", backup)
    assert f"On record as gone for good: {backup}." in shown.out
    assert f"{backup}: somebody said that its file is gone" in house.ok("keys", "list").out
    house.ok("check", "keys")
    retired = house.ok("keys", "retire", "old")
    assert backup in retired.out
    assert house.run("incident", "open", *INCIDENT[2:7], "--output", "second.json").failed_with(
        NothingSelected
    )


def test_all_that_was_written_over_in_a_file_is_said_to_be_gone_at_once(house: Machine) -> None:
    again = ("backup", "full.sr", "--include-values", "--recipient", "old", "--force")
    for _ in range(2):
        house.ok(*again)
    assert house.run("keys", "retire", "old").failed_with(KeyStillNeeded)
    house.ok("backups", "gone", "full.sr")
    shown = house.ok("keys", "list").out
    assert shown.count("somebody said that its file is gone") == 2  # the newest one is there, and counts
    house.ok("check", "keys")


def test_a_file_that_is_there_is_not_said_to_be_gone(house: Machine) -> None:
    refused = house.run("backups", "gone", backup_id(house))
    assert refused.failed_with(UsageError)
    assert str(house.path("full.sr")) in "".join(refused.err.split())


def test_secrets_that_no_key_at_hand_opens_are_said_to_be_missing_from_the_list(house: Machine) -> None:
    house.path("old.key").rename(house.path("away.key"))
    opened = house.run(*INCIDENT)
    assert opened.failed_with(WrongKey)
    assert not house.path("change.json").exists()  # an empty list would say that nothing has to be changed
    assert f"{backup_id(house)}: its secrets are not listed" in opened.out


def test_given_by_hand_what_opens_them_lists_them(house: Machine) -> None:
    config = house.path("strongroom.toml")
    config.write_text(config.read_text().replace(f'identity_file = "{house.home}/old.key"', ""))
    assert house.run(*INCIDENT[:7], "--output", "sealed.json", "--secrets", "none.json").failed_with(WrongKey)
    assert house.run(*INCIDENT, "--identity", "old.key").failed_with(StepIncomplete)
    assert "JWT_SECRET_KEY" in json.loads(house.path("change.json").read_text())


def test_a_passphrase_that_was_typed_is_proven_by_typing_it_again(stocked: Machine) -> None:
    stocked.seal()
    not_yet = " ".join(stocked.ok("check", "keys").out.split())
    assert "not yet proven; it has to be by 2" in not_yet
    assert "'strongroom check keys --passphrase-file FILE'" in not_yet
    wrong = stocked.run("check", "keys", STRONGROOM_PASSPHRASE="another one, of seven words or so")
    assert wrong.failed_with(KeyUnproven)
    stocked.ok("check", "keys", STRONGROOM_PASSPHRASE=PASSPHRASE)
    stocked.ok("check", "keys")


# -- a signing key that leaked ---------------------------------------------------


def signer(machine: Machine) -> str:
    listed = machine.ok("keys", "signers", "list", "--json").document["signers"]
    found: str = next(one["fingerprint"] for one in listed if one["role"] == "control")
    return found


def test_after_a_leak_files_and_escrows_are_signed_anew_where_they_lie(
    house: Machine, other: Machine
) -> None:
    house.ok("emergency", "escrow", "away.sr", STRONGROOM_PASSPHRASE=PASSPHRASE)
    leaked = signer(house)
    uses = house.ok("keys", "signers", "distrust", leaked, "--dry-run", "--json").document["uses"]
    assert {one["file"] for one in uses} == {str(house.path(name)) for name in ("full.sr", "away.sr")}
    house.ok("keys", "signers", "distrust", leaked, "--reason", "leak", "--force")
    restore = ("restore", "--backup-file", "full.sr", "--full-restore", "--dry-run", "--identity", "old.key")
    assert house.run(*restore).failed_with(UntrustedSigner)
    assert "2 backups signed again" in house.ok("keys", "signers", "re-sign", "--force").out
    house.ok(*restore)
    assert house.ok("keys", "signers", "distrust", leaked, "--dry-run", "--json").document["uses"] == []
    (other.home / "away.sr").write_bytes(house.path("away.sr").read_bytes())
    pinned = house.ok("keys", "signers", "list", "--json").document["installation"]
    other.ok("emergency", "escrow", "away.sr", "--open", "--signer", pinned, STRONGROOM_PASSPHRASE=PASSPHRASE)


def test_what_could_not_be_looked_at_is_counted_and_is_an_error_until_it_is_said_to_be_gone(
    house: Machine,
) -> None:
    backup, leaked = backup_id(house), signer(house)
    house.ok("keys", "signers", "distrust", leaked, "--reason", "leak", "--force")
    house.path("full.sr").unlink()
    used = house.run("keys", "signers", "distrust", leaked, "--dry-run")
    assert used.failed_with(MissingPiece)
    assert "1 backup could not be read" in used.err
    assert "No backup that could be read bears" in used.out
    re_signed = house.run("keys", "signers", "re-sign", "--force")
    assert re_signed.failed_with(SignersUnsettled)
    assert f"backups gone {backup}" in re_signed.out
    house.ok("backups", "gone", backup)
    house.ok("keys", "signers", "distrust", leaked, "--dry-run")
    house.ok("keys", "signers", "re-sign", "--force")


@pytest.mark.parametrize("word", ["bogus", "sr1:3555", "sr1:" + "0" * 63, "sr1:" + "G" * 64])
def test_what_is_no_fingerprint_is_refused(house: Machine, word: str) -> None:
    refused = house.run("keys", "signers", "distrust", word, "--dry-run")
    assert refused.failed_with(UsageError)
    assert "64 hexadecimal digits" in refused.err


# -- runs ------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["runs retry", "backups repair"])
def test_a_run_of_a_command_is_not_taken_up_and_the_command_is_named(house: Machine, command: str) -> None:
    refused = house.run(command, backup_id(house))
    assert refused.failed_with(UsageError)
    assert "was made by a command" in refused.err
    assert "Type that command to make it again" in " ".join(refused.err.split())


def test_neither_is_one_that_failed(machine: Machine) -> None:
    machine.ok("keys", "new", "--output", "old.key")
    made = machine.run("backup", "none.sr", "--include-values", "--recipient", "old.key.pub", "--force")
    assert made.failed_with(EmptySource)  # the store is empty
    [failed] = machine.ok("runs", "--json").document["runs"]
    refused = machine.run("runs", "retry", failed["id"])
    assert refused.failed_with(UsageError)
    assert "none.sr" in refused.err
