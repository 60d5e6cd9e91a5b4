"""The command lines of the backup and recovery procedures, word for word.

Each is cut out of the text below as a shell would read it, and run by a shell, in the order
in which somebody who follows the procedures types them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.errors import UsageError
from strongroom.operations.errors import ConfirmationRequired
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import PASSPHRASE, ROOT, Done, Machine
from tests.patience import PATIENCE


@pytest.fixture
def typed(stocked: Machine):
    """Run a command line exactly as written, from the project's directory, by a shell."""
    (stocked.home / "bin").mkdir()
    python = stocked.home / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    env = stocked.env | {
        "PATH": f"{stocked.home / 'bin'}:{stocked.env['PATH']}",
        "STRONGROOM_PASSPHRASE": PASSPHRASE,
        "PYTHONPATH": "",
    }
    (stocked.home / "scripts").symlink_to(ROOT / "scripts")

    def run(line: str) -> Done:
        line = line.replace('"/backup/', f'"{stocked.home}/backup/')
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=stocked.home,
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    return run


def test_the_daily_backup_writes_metadata_and_no_value(typed, stocked: Machine) -> None:
    stocked.path("backup/daily").mkdir(parents=True)
    done = typed("""
        python scripts/secrets_cli.py backup \\
            --output "/backup/daily/secrets_metadata_$(date +%Y%m%d).json" \\
            --metadata-only
    """)
    assert done.code == 0, done
    [written] = stocked.path("backup/daily").iterdir()
    names = [secret["name"] for secret in json.loads(written.read_bytes())["secrets"]]
    assert sorted(names) == ["DATABASE_PASSWORD", "JWT_SECRET_KEY", "REDIS_PASSWORD"]
    assert b"CANARY" not in written.read_bytes()


def test_the_weekly_backup_is_sealed_and_verifies(typed, stocked: Machine) -> None:
    stocked.path("backup/weekly").mkdir(parents=True)
    done = typed("""
        python scripts/secrets_cli.py backup \\
            --output "/backup/weekly/secrets_full_$(date +%Y%m%d).json" \\
            --include-values \\
            --encrypt-backup \\
            --force
    """)
    assert done.code == 0, done
    done = typed("""
        python scripts/secrets_cli.py verify-backup \\
            "/backup/weekly/secrets_full_$(date +%Y%m%d).json"
    """)
    assert done.code == 0, done
    assert "opened: every secret was decrypted" in done.out


@pytest.mark.parametrize(
    "line",
    [
        "python scripts/secrets_cli.py backup secrets_backup.json",
        """python scripts/secrets_cli.py backup secrets_backup.json \\
            --include-metadata \\
            --include-expiration \\
            --include-rotation-schedule""",
        "python scripts/secrets_cli.py backup pre_recovery_backup.json",
    ],
)
def test_a_metadata_backup_by_hand_needs_no_yes(typed, line: str) -> None:
    assert typed(line).code == 0


def test_a_full_backup_by_hand_asks_first(typed, stocked: Machine) -> None:
    lines = (
        """python scripts/secrets_cli.py backup secrets_full_backup.json \\
            --include-values \\
            --encrypt-backup""",
        """python scripts/secrets_cli.py backup critical_secrets.json \\
            --filter-tag "priority=critical" \\
            --include-values""",
        """python scripts/secrets_cli.py backup db_secrets.json \\
            --filter-tag "category=database" \\
            --include-values""",
    )
    for line in lines:
        done = typed(line)
        assert done.failed_with(ConfirmationRequired), line
        assert "needs a yes" in done.err
        assert not list(stocked.home.glob("*.json")), line
    for line in lines:
        assert typed(f"{line} --force").code == 0, line


def test_one_secret_is_recovered(typed, stocked: Machine) -> None:
    stocked.seal("weekly_backup.json")
    stocked.set("JWT_SECRET_KEY", "CANARY-LOST")
    done = typed("""
        python scripts/secrets_cli.py restore-secret \\
            --backup-file weekly_backup.json \\
            --secret-name JWT_SECRET_KEY \\
            --confirm-overwrite
    """)
    assert done.code == 0, done
    done = typed("python scripts/secrets_cli.py get JWT_SECRET_KEY --show-value")
    assert (done.code, done.out) == (0, "CANARY-JWT")


def test_a_category_is_recovered_and_the_rest_left(typed, stocked: Machine) -> None:
    stocked.seal("full_backup.json")
    for name in ("JWT_SECRET_KEY", "DATABASE_PASSWORD"):
        stocked.set(name, "CANARY-LOST")
    done = typed("""
        python scripts/secrets_cli.py restore \\
            --backup-file full_backup.json \\
            --filter-tag "category=database" \\
            --overwrite-existing
    """)
    assert done.code == 0, done
    assert stocked.ok("get", "DATABASE_PASSWORD", "--show-value").out == "CANARY-DB"
    assert stocked.ok("get", "JWT_SECRET_KEY", "--show-value").out == "CANARY-LOST"


def test_the_whole_system_is_recovered(typed, stocked: Machine) -> None:
    stocked.seal("emergency_backup.json")
    assert typed("python scripts/secrets_cli.py list --verify-clean").failed_with(WouldOverwrite)
    stocked.ok("secrets", "delete", "JWT_SECRET_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD", "--force")
    assert typed("python scripts/secrets_cli.py list --verify-clean").code == 0
    done = typed("""
        python scripts/secrets_cli.py restore \\
            --backup-file emergency_backup.json \\
            --full-restore \\
            --overwrite-existing \\
            --verify-after-restore
    """)
    assert done.code == 0, done
    assert "3 secrets compared once more at the end: all equal" in done.out
    assert stocked.ok("get", "REDIS_PASSWORD", "--show-value").out == "CANARY-REDIS"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("python scripts/secrets_cli.py verify-backup backup.json", "Verified: backup.json"),
        ("python scripts/secrets_cli.py backup-info backup.json", "AES-256-GCM"),
        ("python scripts/secrets_cli.py validate-backup-format backup.json", "The format is valid"),
        ("python scripts/secrets_cli.py test-decrypt backup.json", "It opens"),
    ],
)
def test_a_backup_is_looked_into(typed, stocked: Machine, line: str, says: str) -> None:
    stocked.seal("backup.json")
    done = typed(line)
    assert done.code == 0, done
    assert says in done.out


def test_a_backup_key_is_made_once(typed, stocked: Machine) -> None:
    line = """
        python scripts/secrets_cli.py generate-backup-key \\
            --output backup_key.key \\
            --algorithm AES256
    """
    assert typed(line).code == 0
    key = stocked.path("backup_key.key")
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    assert typed(line).failed_with(UsageError)
    assert key.read_bytes() == before


def test_a_recovery_is_tested_and_backups_are_measured(typed, stocked: Machine) -> None:
    stocked.seal("test_backup.json")
    done = typed("""
        python scripts/secrets_cli.py test-recovery \\
            --backup-file test_backup.json \\
            --dry-run \\
            --report test_recovery_report.json
    """)
    assert done.code == 0, done
    assert json.loads(stocked.path("test_recovery_report.json").read_bytes())["outcome"] == "passed"
    done = typed("""
        python scripts/secrets_cli.py benchmark-backup \\
            --secret-count 1000 \\
            --measure-encryption-time \\
            --measure-upload-time
    """)
    assert done.code == 0, done
    assert "1,000 made-up secrets" in done.out


def test_both_names_are_one_program() -> None:
    assert (
        Path(ROOT, "scripts", "secrets_cli.py").read_text().count("from strongroom.cli.main import main") == 1
    )


def test_a_backup_that_one_lost_key_would_close_for_ever_says_so(stocked: Machine) -> None:
    alone = stocked.ok("backup", "a.sr", "--include-values", "--force", STRONGROOM_PASSPHRASE=PASSPHRASE)
    stocked.ok("generate-backup-key", "--output", "spare.key", "--algorithm", "AES256")
    stocked.path("words").write_text(PASSPHRASE)
    stocked.path("words").chmod(0o600)
    two = ("--recipient", "spare.key", "--passphrase-file", "words")
    both = stocked.ok("backup", "b.sr", "--include-values", "--force", *two)
    assert "If that key is lost, so is the backup" in alone.err
    assert "If that is lost" not in both.err
