"""Whoever opens a backup from a command line leaves a line, which comes into the record of events."""

from __future__ import annotations

import json

import pytest

from strongroom.cli.table import command_of
from strongroom.container.errors import WrongKey
from tests.cli.program import PASSPHRASE, Machine


@pytest.fixture
def file(stocked: Machine) -> str:
    stocked.env["STRONGROOM_PASSPHRASE"] = PASSPHRASE
    stocked.seal("b.strongroom")
    return "b.strongroom"


def lines(machine: Machine) -> list[dict[str, object]]:
    path = machine.state / "accesses.jsonl"
    found = [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    return [{"kind": one["kind"], **one["detail"]} for one in found if one["kind"] != "access.attempted"]


def attempts(machine: Machine) -> int:
    return (machine.state / "accesses.jsonl").read_text().count("access.attempted")


def name_of(machine: Machine) -> str:
    name: str = machine.ok("list", "--json").document["secrets"][0]["name"]
    return name


@pytest.mark.parametrize(
    "words",
    [
        ["backups", "verify", "--opens", "b.strongroom"],
        ["backups", "verify", "b.strongroom", "--depth", "opened"],
        ["list", "--backup-file", "b.strongroom"],
        ["restore", "--backup-file", "b.strongroom", "--full-restore", "--dry-run"],
    ],
)
def test_what_opens_a_backup_is_noted_with_who_and_which(
    stocked: Machine, file: str, words: list[str]
) -> None:
    stocked.ok(*words)
    [one] = lines(stocked)
    backup = stocked.ok("backups", "show", file, "--json").document["backup"]
    assert (one["kind"], one["command"], one["backup"], one["where"]) == (
        "access.opened",
        command_of(words)[0],
        backup,
        file,
    )
    assert attempts(stocked) == 1
    assert one["by"]
    assert one["host"]


def test_looking_without_a_key_is_no_access(stocked: Machine, file: str) -> None:
    for command in ("backups show", "backups verify --structure"):
        stocked.ok(command, file)
    stocked.ok("backups", "verify", file, "--depth", "digest")
    assert lines(stocked) == []


def test_a_restore_says_what_it_wrote_and_no_name_or_value(stocked: Machine, file: str) -> None:
    name = name_of(stocked)
    stocked.ok("secrets", "delete", name, "--force")
    stocked.ok("restore", "--backup-file", file, "--secret-name", name)
    opened, restored = lines(stocked)
    assert (opened["kind"], restored["kind"]) == ("access.opened", "access.restored")
    assert (restored["created"], restored["changed"], restored["to"]) == (1, 0, "local")
    assert name not in json.dumps([opened, restored])
    assert "CANARY" not in json.dumps([opened, restored])


def test_a_value_that_is_shown_is_noted(stocked: Machine) -> None:
    name = name_of(stocked)
    stocked.ok("get", name)
    assert lines(stocked) == []
    stocked.ok("get", name, "--show-value")
    assert [one["kind"] for one in lines(stocked)] == ["access.shown"]


def test_what_cannot_be_noted_is_said_and_stops_no_recovery(stocked: Machine, file: str) -> None:
    (stocked.state / "accesses.jsonl").mkdir()
    done = stocked.ok("restore", "--backup-file", file, "--full-restore")
    assert "could not be put on record" in done.err


def test_a_machine_without_an_installation_is_left_as_it_is(stocked: Machine, file: str) -> None:
    stocked.ok(
        "backups", "verify", "--opens", file, "--any-signer", STRONGROOM_STATE_DIR=str(stocked.path("bare"))
    )
    assert not stocked.path("bare").exists()


def test_it_all_comes_into_the_audit_report(stocked: Machine, file: str) -> None:
    stocked.ok("backups", "verify", "--opens", file)
    report = stocked.ok("reports", "audit", "--json").document
    assert [(one["kind"], one["detail"]["command"]) for one in report["happenings"]] == [
        ("access.attempted", "backups verify"),
        ("access.opened", "backups verify"),
    ]
    assert lines(stocked) == []


@pytest.mark.parametrize(
    "words",
    [
        ["backups", "verify", "--opens", "b.strongroom"],
        ["list", "--backup-file", "b.strongroom"],
        ["restore", "--backup-file", "b.strongroom", "--full-restore"],
    ],
)
def test_what_could_not_be_opened_is_a_failed_attempt_and_no_opening(
    stocked: Machine, file: str, words: list[str]
) -> None:
    assert stocked.run(*words, STRONGROOM_PASSPHRASE="not the one that it was sealed for").failed_with(
        WrongKey
    )
    [one] = lines(stocked)
    assert (one["kind"], one["command"], one["error"]) == ("access.failed", command_of(words)[0], "WrongKey")
    assert attempts(stocked) == 1
