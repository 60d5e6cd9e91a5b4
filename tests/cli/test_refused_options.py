"""Options that would be ignored, and numbers that make no sense, are refused by name."""

from __future__ import annotations

import shutil

import pytest

from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError, StrongroomError, UsageError
from tests.cli.program import Machine

REFUSED = [
    ("--include", ["backup", "--policy", "full", "--include", "x*"]),
    ("--exclude", ["backup", "--policy", "full", "--exclude", "x*"]),
    ("--passphrase-file", ["backup", "--policy", "full", "--passphrase-file", "words"]),
    ("--source", ["backup", "--policy", "full", "--source", "files:/tmp"]),
    ("--recipient", ["backup", "--policy", "full", "--recipient", "recovery"]),
    ("--depth goes with --verify alone", ["submit", "full", "--depth", "opened"]),
    ("--depth goes with --verify alone", ["submit", "--repair", "B", "--depth", "digest"]),
    ("--from-target", ["get", "JWT_SECRET_KEY", "--backup-file", "f", "--from-target", "frankfurt"]),
    ("--wait", ["emergency-backup", "full", "--wait", "--status"]),
    ("argument --rate", ["rotate", "full", "--rate", "0"]),
    ("argument --rate", ["rotate", "full", "--rate", "-1"]),
    ("argument --rate", ["rotate", "full", "--rate", "nan"]),
    ("argument --rate", ["rotate-backup-key", "--current-key", "a", "--new-key", "b", "--rate", "0"]),
    ("argument --limit", ["status", "--limit", "0"]),
    ("argument --limit", ["status", "--limit", "-3"]),
    ("argument --limit", ["status", "--limit", "9" * 20]),
    ("argument --limit", ["catalog", "list", "--limit", "0"]),
]


@pytest.mark.parametrize(("said", "words"), REFUSED)
def test_an_option_that_would_be_ignored_or_makes_no_sense_is_refused(
    configured: Machine, said: str, words: list[str]
) -> None:
    done = configured.run(*words)
    assert done.failed_with(UsageError), done
    assert said in " ".join(done.err.split())


def test_legacy_is_refused_where_no_old_file_is_named(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    configured.ok("backup", "one.sr", "--include-values", "--recipient", "recovery", "--force")
    shutil.copytree(configured.path("regions") / "frankfurt", configured.path("copied"))
    for words in (
        ("verify-backup", "frankfurt"),
        ("verify-backup", "copied"),
        ("verify-backup", "one.sr"),
        ("restore", "--full-restore", "--from-target", "frankfurt"),
    ):
        done = configured.run(*words, "--legacy")
        assert done.failed_with(UsageError), done
        assert "--legacy is for an old Fernet file" in done.err, done


@pytest.mark.parametrize("option", ["--verify", "--repair"])
def test_work_on_a_backup_that_is_not_there_is_refused_at_once(configured: Machine, option: str) -> None:
    done = configured.run("submit", option, "nope")
    assert done.failed_with(MissingPiece)
    assert "The catalog has no backup 'nope'" in done.err
    assert "strongroom catalog list" in done.err


def test_work_on_a_backup_that_no_policy_made_is_refused_at_once(configured: Machine) -> None:
    configured.ok("backup", "one.sr", "--include-values", "--recipient", "recovery", "--force")
    [made] = configured.ok("catalog", "list", "--json").document["backups"]
    done = configured.run("submit", "--verify", made["backup"])
    assert done.failed_with(ConfigError), done
    assert "No policy here made backup" in done.err, done


@pytest.mark.parametrize(("policy", "kind"), [("nope", ConfigError), ("full", MissingPiece)])
def test_a_drill_of_nothing_is_refused_at_once(
    configured: Machine, policy: str, kind: type[StrongroomError]
) -> None:
    assert configured.run("submit", "--drill", policy).failed_with(kind)


def test_an_emergency_backup_is_not_made_onto_targets_in_everyday_use(configured: Machine) -> None:
    done = configured.run("emergency-backup", "full", "--force")
    assert done.failed_with(ConfigError)
    assert "policies.full.offline = true" in " ".join(done.err.split())
    assert not list(configured.path("regions").rglob("emergency/*"))
