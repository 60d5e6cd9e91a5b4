"""What a command loads: help, and reading or restoring from a file, stay light."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.table import COMMANDS
from tests.cli.program import PASSPHRASE, ROOT, Machine

HEAVY = ("sqlalchemy", "alembic", "boto3", "botocore", "celery", "kombu", "pydantic", "redis", "rich")
RUN = f"""
import sys
sys.argv[0] = "strongroom"
from cli.main import main
code = main()
heavy = [name for name in {HEAVY!r} if name in sys.modules]
sys.stderr.write(f"LOADED {{heavy}}")
sys.exit(code)
"""
LIMIT_SECONDS = 0.120


def loads(machine: Machine, *words: str | Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, words)],
        cwd=machine.home,
        env=machine.env | {"PYTHONPATH": str(ROOT)} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stderr.rpartition("LOADED ")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_loads_nothing_heavy(machine: Machine, name: str) -> None:
    assert loads(machine, name, "--help") == "[]"


def test_the_overview_loads_nothing_heavy(machine: Machine) -> None:
    assert loads(machine, "--help") == "[]"


@pytest.mark.parametrize(
    "words",
    [
        ("verify-backup", "full.sr"),
        ("verify-backup", "full.sr", "--depth", "compared"),
        ("backup-info", "full.sr"),
        ("validate-backup-format", "full.sr"),
        ("test-decrypt", "full.sr"),
        ("get", "JWT_SECRET_KEY", "--backup-file", "full.sr", "--show-value"),
        ("restore", "--backup-file", "full.sr", "--full-restore"),
        ("restore-secret", "--backup-file", "full.sr", "--secret-name", "JWT_SECRET_KEY"),
        ("list",),
        ("get", "JWT_SECRET_KEY"),
        ("backup", "meta.json", "--force"),
    ],
    ids=" ".join,
)
def test_reading_and_restoring_from_a_file_load_nothing_heavy(
    sealed: Machine, words: tuple[str, ...]
) -> None:
    assert loads(sealed, *words, STRONGROOM_PASSPHRASE=PASSPHRASE) == "[]"


def test_one_secret_is_shown_in_an_instant(sealed: Machine, tmp_path: Path) -> None:
    """The whole process, start-up included. Its own time counts, so that a machine that is busy
    with other things does not decide; and the best of several counts."""
    key = tmp_path / "backup.key"
    sealed.ok("generate-backup-key", "--output", key)
    file = tmp_path / "keyed.sr"
    sealed.ok("backup", file, "--include-values", "--force", "--recipient", key)
    words = ["get", "JWT_SECRET_KEY", "--show-value", "--backup-file", file, "--identity", key]
    tries = (_own_seconds(sealed, *map(str, words)) for _ in range(30))
    assert any(seconds < LIMIT_SECONDS for seconds in tries)


def _own_seconds(machine: Machine, *words: str) -> float:
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from cli.main import main; sys.exit(main())", *words],
        env=machine.env | {"PYTHONPATH": str(ROOT)},
        cwd=machine.home,
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime
