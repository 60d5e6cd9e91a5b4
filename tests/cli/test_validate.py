"""validate, as a person types it after a recovery."""

from __future__ import annotations

from typing import Any

import pytest

from strongroom.container.errors import VerificationFailed, WrongKey
from strongroom.errors import SourceError, UsageError
from strongroom.operations.errors import NothingSelected
from strongroom.sources.errors import EmptySource, SecretNotFound
from tests.cli.conftest import stock
from tests.cli.furnished import Furnish
from tests.cli.program import PASSPHRASE, Machine
from tests.cli.test_imports import loads

NAMED = ("check", "secrets", "--secrets", "DATABASE_PASSWORD", "REDIS_PASSWORD")
OPENS = {"STRONGROOM_PASSPHRASE": PASSPHRASE}


def checks(document: dict[str, Any]) -> dict[tuple[str, str], bool]:
    return {(one["secret"], one["check"]): one["wrong"] for one in document["findings"]}


def test_the_procedures_command_line_validates_what_was_restored(stocked: Machine) -> None:
    done = stocked.ok(*NAMED)
    assert "2 secrets looked at" in done.out
    stocked.ok("secrets", "delete", "REDIS_PASSWORD", "--force")
    missing = stocked.run(*NAMED, "--json")
    assert missing.failed_with(SecretNotFound)
    assert checks(missing.document) == {("REDIS_PASSWORD", "missing"): True}
    twice = stocked.run(
        "check", "secrets", "--secrets", "REDIS_PASSWORD", "--secrets", "JWT_SECRET_KEY", "--json"
    )
    assert twice.document["sources"][0]["secrets"] == 2
    stocked.set("DATABASE_PASSWORD", "changeme")
    wrong = stocked.run(*NAMED)
    assert wrong.failed_with(VerificationFailed)
    assert "changeme" not in wrong.out + wrong.err
    assert "DATABASE_PASSWORD: placeholder" in wrong.err


def test_values_are_compared_with_a_file_and_never_shown(stocked: Machine) -> None:
    stocked.seal()
    words = ("check", "secrets", "--backup-file", "full.sr")
    same = stocked.ok(*words, "--json", **OPENS)
    assert same.document["sources"][0]["compared"] == {
        "same": 3,
        "differs": 0,
        "missing": 0,
        "not_in_backup": 0,
    }
    stocked.set("JWT_SECRET_KEY", "CANARY-OTHER")
    stocked.set("NEW", "CANARY-NEW")
    stocked.ok("secrets", "delete", "REDIS_PASSWORD", "--force")
    done = stocked.run(*words, "--json", **OPENS)
    assert done.failed_with(VerificationFailed)
    assert checks(done.document) == {
        ("JWT_SECRET_KEY", "differs"): True,
        ("REDIS_PASSWORD", "missing"): True,
        ("NEW", "not-in-backup"): False,
    }
    shown = stocked.run(*words, "--secrets", "NEW", "JWT_SECRET_KEY", **OPENS)
    assert "1 otherwise, 1 not in the backup" in shown.out
    for each in (same, done, shown):
        assert "CANARY" not in each.out + each.err
    assert stocked.run(*words, STRONGROOM_PASSPHRASE="another one, of seven words or so").failed_with(
        WrongKey
    )


def test_looking_makes_nothing(machine: Machine) -> None:
    assert machine.run(*NAMED).failed_with(SecretNotFound)
    assert machine.run("check", "secrets").failed_with(EmptySource)
    assert machine.run("check", "secrets", "--include", "x").failed_with(NothingSelected)
    assert machine.run("check", "secrets", "--production").failed_with(
        VerificationFailed
    )  # a source that holds nothing at all
    assert sorted(machine.home.rglob("*")) == []


@pytest.mark.parametrize(
    "words", [("--secrets", "X"), ("--include", "x"), ("--source", "files:x"), ("--backup-file", "x")]
)
def test_production_is_all_of_it(machine: Machine, words: tuple[str, ...]) -> None:
    assert machine.run("check", "secrets", "--production", *words).failed_with(UsageError)


def test_production_is_held_against_the_newest_backup_of_each_policy(configured: Machine) -> None:
    nothing = configured.ok("check", "secrets", "--production", "--json").document
    assert [one["check"] for one in nothing["findings"]] == ["no-backup", "no-backup"]
    for policy in ("full", "metadata"):
        configured.ok("backup", "--policy", policy, "--force")
    assert depths(configured.ok("check", "secrets", "--production", "--json").document) == {
        "full": "counted",
        "metadata": "names",
    }
    opened = ("check", "secrets", "--production", "--identity", "recovery.key", "--json")
    assert depths(configured.ok(*opened).document) == {"full": "values", "metadata": "names"}

    configured.path("regions/frankfurt").rename(configured.path("away"))
    configured.ok("secrets", "delete", "JWT_SECRET_KEY", "--force")
    done = configured.run(*opened)
    assert done.failed_with(VerificationFailed)
    assert checks(done.document)["JWT_SECRET_KEY", "missing"] is True
    assert checks(done.document)["", "fewer"] is True
    assert depths(done.document)["full"] == "values"
    assert "CANARY" not in done.out + done.err


def test_a_source_that_does_not_answer_hides_no_other(configured: Machine) -> None:
    toml = configured.path("strongroom.toml")
    more = '[sources.gone]\nkind = "files"\npath = "gone.env"\n[policies.gone]\nkind = "metadata"\n'
    toml.write_text(
        f'{toml.read_text()}{more}source = "gone"\ntargets = ["dublin"]\nquorum = 1\nregions = 1\n'
    )
    done = configured.run("check", "secrets", "--production", "--json")
    assert done.failed_with(SourceError)
    assert "No secret is known to be wrong" in done.err
    assert {one["source"]: one["secrets"] for one in done.document["sources"]} == {"local": 3, "gone": 0}
    assert checks(done.document)["", "source-unreadable"] is True


def depths(document: dict[str, Any]) -> dict[str, str]:
    return {one["policy"]: one["depth"] for one in document["policies"]}


def test_validating_against_a_file_loads_nothing_heavy(machine: Machine, furnish: Furnish) -> None:
    furnish(machine, stock, Machine.seal)  # and no command after it that makes a state database
    assert loads(machine, "check", "secrets", "--backup-file", "full.sr", **OPENS) == "[]"


def test_a_server_as_a_whole_is_not_looked_at(machine: Machine) -> None:
    machine.path("strongroom.toml").write_text('[sources.server]\nkind = "raft"\nvault = "v"\n')
    done = machine.run("check", "secrets", "--source", "server")
    assert done.failed_with(UsageError)
    assert "a snapshot would have to be taken" in done.err


def test_a_backup_is_verified_against_its_source_in_counts_alone(stocked: Machine) -> None:
    stocked.seal()
    words = ("backups", "verify", "full.sr", "--depth", "live")
    assert "none: the source is as the backup" in stocked.ok(*words, **OPENS).out
    stocked.set("JWT_SECRET_KEY", "CANARY-OTHER")
    stocked.set("NEW", "CANARY-NEW")
    stocked.ok("secrets", "delete", "REDIS_PASSWORD", "--force")
    done = stocked.ok(*words, **OPENS)
    said = " ".join(done.out.split())
    assert "1 secret changed, 1 secret missing from it, 1 secret not in the backup" in said
    assert not any(name in done.out for name in ("JWT_SECRET_KEY", "NEW", "REDIS_PASSWORD"))
    assert stocked.ok(*words, "--json", **OPENS).document["live"]["newest"]["secrets"] == 3


def test_a_backup_without_values_is_not_verified_against_its_source(stocked: Machine) -> None:
    stocked.ok("backup", "names.json", "--force")
    assert stocked.run("backups", "verify", "names.json", "--depth", "live").failed_with(UsageError)
