"""The procedures' commands are there, and the lenient settings agree with the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.cli import reference, table
from strongroom.cli.parser import parse, parser_of
from strongroom.cli.table import COMMANDS, command_of, summaries, unknown_command
from strongroom.cli.terminal import place
from strongroom.config import load_settings

PROCEDURES = (
    *("backup", "restore", "list", "get", "verify-backup", "backup-info", "restore-secret", "test-decrypt"),
    *("validate-backup-format", "generate-backup-key", "rotate-backup-key", "validate", "test-recovery"),
    *("check-recovery-environment", "check-backup-permissions", "test-backup-storage", "health-advanced"),
    *("diagnose-backup-encryption", "backup-health-check", "backup-alerts", "backup-audit-report"),
    *("compliance-check", "benchmark-backup"),
)
"""The commands of the procedures document."""


def test_the_procedures_commands_are_names_of_commands() -> None:
    assert {name for name in PROCEDURES if command_of([name])[0] not in COMMANDS} == set()
    assert set(table.PROCEDURES) == {name for name in PROCEDURES if name not in COMMANDS}


@pytest.mark.parametrize("name", [*table.PROCEDURES, *table.ALSO])
def test_a_second_name_is_that_of_a_command_and_of_options_that_it_takes(name: str) -> None:
    command, preset = command_of(name.split())
    assert command in COMMANDS
    taken = parser_of(command)._option_string_actions
    assert [word for word in preset if word.startswith("--") and word not in taken] == []


def test_a_former_word_for_a_command_is_answered_with_the_new_one() -> None:
    for old, new in table.FORMER.items():
        assert command_of([old]) == ("", [old])
        assert command_of(new.split())[0] in COMMANDS
        assert f"'strongroom {new}'" in str(unknown_command([old]).hint)
    assert "'strongroom backups prune'" in str(unknown_command(["prune", "CANARY"]).hint)


def test_a_word_behind_a_subject_that_is_no_command_is_not_repeated() -> None:
    error = unknown_command(["backups", "CANARY"])
    assert "CANARY" not in f"{error}{error.hint}"
    assert "verify" in str(error.hint)


def test_the_help_names_at_most_thirty_commands() -> None:
    assert len(summaries()) <= 30


def test_the_help_of_a_nested_command_begins_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("keys quorum", ["show", "--help"])
    assert "\n\nSay who the custodians are, and how many are needed.\n\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("backup", "secrets.json"), "--include-metadata"),
        (("backup", "secrets.json"), "--include-expiration"),
        (("backup", "secrets.json"), "--include-rotation-schedule"),
        (
            ("check", "controls"),
            "--backup-requirements",
        ),
    ],
)
def test_an_option_that_changes_nothing_is_accepted_and_shown_nowhere(
    command: tuple[str, ...], option: str
) -> None:
    name, words = command_of(command)
    assert parse(name, [*words, option]).name == name
    assert option not in parser_of(name).format_help()
    assert option not in reference.commands_markdown()


@pytest.mark.parametrize(
    "env",
    [
        {"HOME": "/home/somebody"},
        {"HOME": "/home/somebody", "XDG_STATE_HOME": "/var/state"},
        {"HOME": "/home/somebody", "XDG_STATE_HOME": "relative"},
        {"HOME": "/home/somebody", "STRONGROOM_STATE_DIR": "/srv/strongroom"},
        {"HOME": "/home/somebody", "STRONGROOM_TRUST__SIGNERS": '["sr1:' + "ab" * 32 + '"]'},
    ],
)
def test_the_lenient_settings_are_those_of_the_configuration(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found, settings = place.find(env), load_settings(env)
    assert found.state_dir == settings.state_dir
    assert tuple(place.trusted_in_file(found)) == settings.trust.signers


def test_the_lenient_settings_read_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    signer = "sr1:" + "cd" * 32
    (tmp_path / "strongroom.toml").write_text(f"""
        state_dir = "here"
        [sources.mounted]
        kind = "files"
        path = "secrets"
        [targets.far]
        kind = "directory"
        path = "~/far"
        region = "far"
        [trust]
        signers = ["{signer}"]
    """)
    env = {"HOME": str(tmp_path)}
    monkeypatch.setenv("HOME", str(tmp_path))
    found, settings = place.find(env), load_settings(env)
    assert found.state_dir == settings.state_dir
    assert list(place.trusted_in_file(found)) == [signer]
    assert found.path(found.section("targets")["far"]["path"]) == settings.targets["far"].path
    assert found.path(found.section("sources")["mounted"]["path"]) == settings.sources["mounted"].path


def test_a_path_that_is_none_is_left_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strongroom.toml").write_text('state_dir = "a\\u0000b"\n')
    found = place.find({"HOME": "/home/somebody"})
    assert found.state_dir == Path("/home/somebody/.local/state/strongroom")
