"""What a command says is so: which key opened, what is wrong, what a mistyped name was meant for."""

from __future__ import annotations

import json

import pytest

from strongroom.container.errors import WrongKey
from strongroom.errors import ConfigError, UsageError
from tests.cli.conftest import configure, stock
from tests.cli.furnished import furnished
from tests.cli.program import Machine


def keep_house(machine: Machine) -> None:
    """A machine whose configuration has a private key that opens, and a spare one beside it that does not."""
    machine.ok("keys", "new", "--output", "spare.key")
    machine.ok("backup", "full.sr", "--include-values", "--force", "--recipient", "recovery.key.pub")
    text = machine.path("strongroom.toml").read_text()
    old = 'public_key_file = "recovery.key.pub"\n'
    machine.path("strongroom.toml").write_text(text.replace(old, old + 'identity_file = "recovery.key"\n'))


house = furnished(stock, configure, keep_house)


def test_a_key_that_is_tried_opens_by_itself_or_fails(house: Machine) -> None:
    assert house.ok("backups", "verify", "--opens", "full.sr").code == 0
    assert house.run("backups", "verify", "--opens", "full.sr", "--identity", "spare.key").failed_with(
        WrongKey
    )


def test_the_key_that_opened_is_named(house: Machine) -> None:
    done = house.ok("backups", "verify", "--opens", "full.sr", "--identity", "recovery.key")
    assert "It opens with the private key" in done.out
    document = house.ok(
        "backups", "verify", "--opens", "full.sr", "--identity", "recovery.key", "--json"
    ).document
    assert len(document["opened_with"]) == 1


def test_without_a_mail_server_what_is_wrong_is_printed_all_the_same(house: Machine) -> None:
    done = house.run("alerts", "send", "--email", "ops@example.com", "--threshold-age", "48h")
    assert done.failed_with(ConfigError)
    assert "Nothing is wrong." in done.out
    assert "Nobody was notified" in done.out
    assert "mail" in done.err


@pytest.mark.parametrize("ending", ["csv", "html", "pdf"])
def test_a_report_is_not_written_as_what_it_is_not(house: Machine, ending: str) -> None:
    done = house.run("reports", "audit", "--output", f"report.{ending}")
    assert done.failed_with(UsageError)
    assert f".{ending}" in done.err
    assert not house.path(f"report.{ending}").exists()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["bakcup"], "backup"),
        (["backup", "--policy", "ful"], "full"),
        (["backup", "--cluster", "--policy", "ful"], "full"),
        (["list", "--from-target", "frankfrut"], "frankfurt"),
        (["restore", "--backup-file", "full.sr", "--full-restore", "--to", "lokal", "--dry-run"], "local"),
        (["check", "storage", "toronot"], "toronto"),
        (["get", "jwt_secret_key"], "JWT_SECRET_KEY"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(house: Machine, words: list[str], meant: str) -> None:
    done = house.run(*words)
    assert done.code != 0
    assert f"{meant}'?" in " ".join(done.err.split())


def test_an_answer_of_test_decrypt_is_one_document(house: Machine) -> None:
    json.loads(house.ok("backups", "verify", "--opens", "full.sr", "--json").out)


def test_a_passphrase_without_a_name_is_called_one(house: Machine) -> None:
    house.seal("words.sr")
    shown = house.ok("keys", "list").out
    assert "(passphrase without a name)" in shown
    assert "()" not in shown
