"""The procedures' commands are there, and the lenient settings agree with the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.cli import reference
from strongroom.cli.parser import parse, parser_of
from strongroom.cli.table import COMMANDS
from strongroom.cli.terminal import place
from strongroom.config import load_settings

PROCEDURES = {
    "backup",
    "verify-backup",
    "backup-info",
    "list",
    "restore-secret",
    "get",
    "restore",
    "generate-backup-key",
    "validate-backup-format",
    "test-decrypt",
    "validate",
    "check-recovery-environment",
    "test-recovery",
    "benchmark-backup",
}


def test_the_procedures_commands_are_there() -> None:
    assert COMMANDS.keys() >= PROCEDURES


def test_the_help_of_a_nested_command_begins_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("silence", ["end", "--help"])
    assert "\n\nEnd a silence before its time.\n\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("backup", "secrets.json"), "--include-metadata"),
        (("backup", "secrets.json"), "--include-expiration"),
        (("backup", "secrets.json"), "--include-rotation-schedule"),
        (("compliance-check",), "--backup-requirements"),
    ],
)
def test_an_option_that_changes_nothing_is_accepted_and_shown_nowhere(
    command: tuple[str, ...], option: str
) -> None:
    name, *words = command
    assert parse(name, [*words, option]).command_name == name
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
