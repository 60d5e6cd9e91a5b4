"""Options that would be ignored, and numbers that make no sense, are refused by name."""

from __future__ import annotations

import shutil

import pytest

from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError, StrongroomError, UsageError
from tests.cli.program import Machine

REFUSED = [
    ("--policy", ["backup", "--policy", "full", "--policy", "metadata"]),
    ("--role", ["cluster", "rules", "redis", "--role", "control", "--role", "beat"]),
    ("--include", ["backup", "--policy", "full", "--include", "x*"]),
    ("--exclude", ["backup", "--policy", "full", "--exclude", "x*"]),
    ("--passphrase-file", ["backup", "--policy", "full", "--passphrase-file", "words"]),
    ("--source", ["backup", "--policy", "full", "--source", "files:/tmp"]),
    ("--recipient", ["backup", "--policy", "full", "--recipient", "recovery"]),
    ("--include", ["backup", "--cluster", "--policy", "full", "--include", "x*"]),
    ("--policy", ["backup", "one.sr", "--cluster"]),
    ("--follow goes with --cluster", ["backup", "--policy", "full", "--follow"]),
    ("--identity", ["backups", "verify", "B", "--cluster", "--identity", "recovery.key"]),
    ("--structure", ["backups", "verify", "B", "--cluster", "--structure"]),
    ("--all", ["backups", "repair", "B", "--cluster", "--all"]),
    ("Which backup", ["backups", "repair", "--cluster"]),
    ("--to SOURCE", ["restore", "--cluster", "--backup", "B", "--full-restore"]),
    ("without --cluster", ["restore", "--cluster", "--backup", "B", "--full-restore", "--to", "local"]),
    ("--backup ID", ["restore", "--cluster", "--full-restore", "--to", "spare"]),
    ("--full-restore", ["restore", "--cluster", "--backup", "B", "--to", "spare"]),
    ("--identity", ["restore", "--cluster", "--backup", "B", "--to", "spare", "--identity", "recovery.key"]),
    ("--validate goes with --cluster", ["restore", "--full-restore", "--validate"]),
    ("--include", ["restore", "--cluster", "--validate", "--backup", "B", "--to", "spare", "--include", "x"]),
    ("--filter-tag", ["restore", "--secret-name", "TOKEN", "--filter-tag", "a=b"]),
    ("--full-restore", ["restore", "--secret-name", "TOKEN", "--full-restore"]),
    ("--secret-name", ["restore", "--full-restore", "--version", "2"]),
    ("--dry-run", ["restore", "undo", "RUN", "--cluster", "--dry-run"]),
    ("--output", ["init", "--force"]),
    ("--installation-key-to", ["init", "--output", "x.toml", "--installation-key-to", "key"]),
    ("--identity", ["check", "keys", "--no-backups", "--identity", "recovery.key"]),
    ("AES256 has none", ["keys", "new", "--output", "k", "--algorithm", "AES256", "--from", "recovery.key"]),
    ("--from-target", ["get", "JWT_SECRET_KEY", "--backup-file", "f", "--from-target", "frankfurt"]),
    ("--wait", ["emergency", "backup", "full", "--wait", "--status"]),
    ("argument --rate", ["keys", "rotate", "full", "--rate", "0"]),
    ("argument --rate", ["keys", "rotate", "full", "--rate", "-1"]),
    ("argument --rate", ["keys", "rotate", "full", "--rate", "nan"]),
    ("argument --rate", ["keys", "replace", "--current-key", "a", "--new-key", "b", "--rate", "0"]),
    ("argument --limit", ["runs", "--limit", "0"]),
    ("argument --limit", ["runs", "--limit", "-3"]),
    ("argument --limit", ["runs", "--limit", "9" * 20]),
    ("argument --limit", ["backups", "list", "--limit", "0"]),
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
        ("backups", "verify", "frankfurt"),
        ("backups", "verify", "copied"),
        ("backups", "verify", "one.sr"),
        ("restore", "--full-restore", "--from-target", "frankfurt"),
    ):
        done = configured.run(*words, "--legacy")
        assert done.failed_with(UsageError), done
        assert "--legacy is for an old Fernet file" in done.err, done


@pytest.mark.parametrize("action", ["verify", "repair"])
def test_work_on_a_backup_that_is_not_there_is_refused_at_once(configured: Machine, action: str) -> None:
    done = configured.run("backups", action, "nope", "--cluster")
    assert done.failed_with(MissingPiece)
    assert "The catalog has no backup 'nope'" in done.err
    assert "strongroom backups list" in done.err


def test_work_on_a_backup_that_no_policy_made_is_refused_at_once(configured: Machine) -> None:
    configured.ok("backup", "one.sr", "--include-values", "--recipient", "recovery", "--force")
    [made] = configured.ok("backups", "list", "--json").document["backups"]
    done = configured.run("backups", "verify", "--cluster", made["backup"])
    assert done.failed_with(ConfigError), done
    assert "No policy here made backup" in done.err, done


@pytest.mark.parametrize(("policy", "kind"), [("nope", ConfigError), ("full", MissingPiece)])
def test_a_drill_of_nothing_is_refused_at_once(
    configured: Machine, policy: str, kind: type[StrongroomError]
) -> None:
    assert configured.run("drill", "full", "--cluster", "--policy", policy).failed_with(kind)


def test_an_emergency_backup_is_not_made_onto_targets_in_everyday_use(configured: Machine) -> None:
    done = configured.run("emergency", "backup", "full", "--force")
    assert done.failed_with(ConfigError)
    assert "policies.full.offline = true" in " ".join(done.err.split())
    assert not list(configured.path("regions").rglob("emergency/*"))
