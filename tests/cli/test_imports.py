"""What a command loads: help, and reading or restoring from a file, stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.cli.table import COMMANDS
from tests.cli.conftest import configure, stock
from tests.cli.furnished import furnished
from tests.cli.program import PASSPHRASE, ROOT, Machine
from tests.patience import PATIENCE

HEAVY = ("sqlalchemy", "alembic", "boto3", "botocore", "celery", "kombu", "pydantic", "redis", "rich")
RUN = f"""
import sys
sys.argv[0] = "strongroom"
from strongroom.cli.main import main
code = main()
heavy = [name for name in {HEAVY!r} if name in sys.modules]
sys.stderr.write(f"LOADED {{heavy}}")
sys.exit(code)
"""


def back_up(machine: Machine) -> None:
    machine.ok("backup", "--policy", "full", "--force")


on_record = furnished(stock, configure, back_up)
RARE = ("smtplib", "multiprocessing", "shamir_mnemonic")
"""What nobody needs who looks."""
MODULES = 345
"""Eight of them are the errors of the packages on the way, each beside what raises them. Four ask whether a
value may be shown, and of which version. A dozen ask who made the backup, and whether it is in quarantine.
Thirty read on past damage, six the trust lists. Four keep the process's memory to itself."""


def loads(machine: Machine, *words: str | Path, run: str = RUN, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", run, *map(str, words)],
        cwd=machine.home,
        env=machine.env | {"PYTHONPATH": str(ROOT)} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stderr.rpartition("LOADED ")[2]


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("name", COMMANDS)
def test_help_loads_nothing_heavy(machine: Machine, name: str) -> None:
    assert loads(machine, name, "--help") == "[]"


def test_the_overview_loads_nothing_heavy(machine: Machine) -> None:
    assert loads(machine, "--help") == "[]"


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(
    "words",
    [
        ("backups", "verify", "full.sr"),
        ("backups", "verify", "full.sr", "--depth", "compared"),
        ("backups", "show", "full.sr"),
        ("backups", "verify", "--structure", "full.sr"),
        ("backups", "verify", "--opens", "full.sr"),
        ("get", "JWT_SECRET_KEY", "--backup-file", "full.sr", "--show-value"),
        ("restore", "--backup-file", "full.sr", "--full-restore"),
        ("restore", "--backup-file", "full.sr", "--secret-name", "JWT_SECRET_KEY"),
        ("drill", "local", "--backup-file", "full.sr"),
        ("drill", "local", "--backup-file", "full.sr", "--dry-run"),
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


def test_one_secret_is_shown_with_few_modules(sealed: Machine, tmp_path: Path) -> None:
    """Start-up is most of what showing one secret takes, and modules are most of start-up."""
    key = tmp_path / "backup.key"
    sealed.ok("keys", "new", "--algorithm", "AES256", "--output", key)
    file = tmp_path / "keyed.sr"
    sealed.ok("backup", file, "--include-values", "--force", "--recipient", key)
    words = ["get", "JWT_SECRET_KEY", "--show-value", "--backup-file", file, "--identity", key]
    assert len(imported(sealed, *words)) < MODULES


def test_a_backup_of_a_file_loads_no_client_of_a_service_and_no_other_database(sealed: Machine) -> None:
    (sealed.home / "some.jsonl").write_text('{"name":"a","value":"CANARY-a"}\n')
    words = ("backup", "new.sr", "--source", "files:some.jsonl", "--include-values", "--force")
    loaded = imported(sealed, *words, STRONGROOM_PASSPHRASE=PASSPHRASE)
    assert "sqlalchemy.dialects.sqlite" in loaded
    unwanted = ("sqlalchemy.dialects.postgresql", "strongroom.vault.client", "boto3", "yaml", "urllib3")
    assert [name for name in unwanted if name in loaded] == []


def test_a_source_is_listed_while_what_drives_runs_is_imported(sealed: Machine) -> None:
    """That import takes as long as listing a hundred thousand secrets."""
    (sealed.home / "some.jsonl").write_text('{"name":"a","value":"CANARY-a"}\n')
    words = ("backup", "new.sr", "--source", "files:some.jsonl", "--include-values", "--force")
    run = """
import sys
sys.argv[0] = "strongroom"
from strongroom.cli.main import main
from strongroom.operations.backup.plan import Ahead
start, loaded = Ahead.start, []
def started(*arguments):
    loaded.extend(sorted(sys.modules))
    start(*arguments)
Ahead.start = started
code = main()
sys.stderr.write(f"LOADED {loaded}")
sys.exit(code)
"""
    loaded = ast.literal_eval(loads(sealed, *words, run=run, STRONGROOM_PASSPHRASE=PASSPHRASE))
    unwanted = ("sqlalchemy", "strongroom.state.store", "strongroom.operations.engine.drive")
    assert loaded
    assert [name for name in unwanted if name in loaded] == []


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        (("--help",), ("msgspec", "argparse", "cryptography", "strongroom.config")),
        (
            ("config", "check"),
            ("sqlalchemy", "redis", "kombu", "cryptography.x509", "email", "ssl", "shamir_mnemonic"),
        ),
        (
            ("runs",),
            ("redis", "kombu", "celery", "alembic", "sqlalchemy.dialects.postgresql", *RARE),
        ),
        (("check",), ("redis", "kombu", "celery", "alembic", "sqlalchemy.orm", "opentelemetry", *RARE)),
        (("alerts",), ("redis", "kombu", "celery", "alembic", "sqlalchemy.orm", "opentelemetry", *RARE)),
        (
            ("schedule",),
            ("redis", "kombu", "celery", "alembic", "sqlalchemy.orm", "prometheus_client", *RARE),
        ),
    ],
    ids=["help", "config", "runs", "check", "alerts", "schedule"],
)
def test_looking_where_no_cluster_is_loads_no_broker_s_client_and_a_configuration_no_database(
    on_record: Machine, words: tuple[str, ...], unwanted: tuple[str, ...]
) -> None:
    """A person who looks waits for imports more than for anything else."""
    loaded = imported(on_record, *words)
    assert [name for name in unwanted if name in loaded] == []


def imported(machine: Machine, *words: str | Path, **env: str) -> set[str]:
    """Return the names of all modules that a command has loaded when it ends."""
    line = f"{RUN.rpartition('sys.stderr')[0]}sys.stderr.write(f'LOADED {{sorted(sys.modules)}}')\n"
    return set(ast.literal_eval(loads(machine, *words, run=line, **env)))
