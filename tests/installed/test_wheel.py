"""What a person has who installs the wheel and nothing else: no checkout, no tool of its developers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.check_docs import dead_links
from strongroom.errors import ConfigError
from strongroom.state.migrations import HEAD
from tests.installed.environment import Installed, build_wheel, install
from tests.patience import until

SECRETS = {"PAYMENTS_API_KEY": "CANARY-payments", "DATABASE_URL": "CANARY-database"}
CONFIG = """
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"

[targets.near]
kind = "directory"
path = "near"
region = "near"
create = true

[targets.safe]
kind = "directory"
path = "medium"
region = "safe"
create = true

[policies.minutely]
kind = "full"
targets = ["near"]
recipients = ["recovery"]
single_recipient_reason = "a test"
schedule = "* * * * *"
quorum = 1
regions = 1

[policies.asked]
kind = "full"
targets = ["near"]
recipients = ["recovery"]
single_recipient_reason = "a test"
quorum = 1
regions = 1

[policies.emergency]
kind = "full"
targets = ["safe"]
recipients = ["recovery"]
single_recipient_reason = "a test"
offline = true
quorum = 1
regions = 1
"""


@pytest.fixture(scope="module")
def wheel() -> Path:
    return build_wheel()


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A machine with three policies and two secrets."""
    folder = tmp_path_factory.mktemp("one")
    machine = Installed(install(wheel, folder / "venv", "all"), folder / "home")
    machine.ok("strongroom", "keys", "new", "--output", "recovery.key")
    (machine.home / "strongroom.toml").write_text(CONFIG)
    for name, value in SECRETS.items():
        machine.ok("strongroom", "set", name, text=value)
    return machine


@pytest.fixture(scope="module")
def elsewhere(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Another clean machine: the same programs, and nothing else of the first."""
    return Installed(installed.programs, tmp_path_factory.mktemp("two") / "home")


def test_every_module_can_be_imported_with_what_the_metadata_asks_for(installed: Installed) -> None:
    program = """
import importlib, pkgutil
import strongroom, tasks, workers
names = ["beat_schedule"]
for package in (strongroom, tasks, workers):
    names += [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
under_pytest = ("strongroom.plugins.conformance", "strongroom.plugins.pytest_plugin")
for name in names:
    if name.startswith(("strongroom.recover", *under_pytest)):
        continue
    if not name.endswith(("__main__", "migrations.env")):
        importlib.import_module(name)
print(len(names), strongroom.__file__)
"""
    count, place = installed.python(program).split()
    assert int(count) > 400
    assert "site-packages" in place


def test_type_checkers_are_told_that_it_is_typed(installed: Installed) -> None:
    site = Path(installed.python("import strongroom; print(strongroom.__path__[0])").strip()).parent
    packages = {"strongroom", "tasks", "workers"}
    assert {name for name in packages if (site / name / "py.typed").is_file()} == packages


def test_the_documents_that_messages_name_are_installed(installed: Installed) -> None:
    prefix = Path(installed.python("import sysconfig; print(sysconfig.get_path('data'))").strip())
    documents = prefix / "share" / "doc" / "strongroom"
    assert (documents / "docs" / "how-to" / "symptoms.md").is_file()
    assert (documents / "docs" / "how-to" / "grant-rights.md").is_file()


def test_every_link_of_an_installed_document_leads_to_an_installed_file(installed: Installed) -> None:
    prefix = Path(installed.python("import sysconfig; print(sysconfig.get_path('data'))").strip())
    pages = sorted((prefix / "share" / "doc" / "strongroom" / "docs").rglob("*.md"))
    assert len(pages) > 50
    links = [(page, link) for page in pages for link in dead_links(page, page.read_text(encoding="utf-8"))]
    assert links == []


def test_an_older_state_database_is_migrated(installed: Installed) -> None:
    program = """
from pathlib import Path
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from strongroom.state import migrations
engine = create_engine("sqlite:///old.db")
with engine.begin() as conn:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = conn
    command.upgrade(config, "0001")
print(migrations.revision(engine))
with engine.begin() as conn:
    migrations.migrate(conn)
print(migrations.revision(engine))
"""
    assert installed.python(program).split() == ["0001", HEAD]


def test_a_cluster_does_what_is_scheduled_submitted_and_sent_from_python(installed: Installed) -> None:
    with installed.cluster():
        installed.ok("strongroom", "backup", "--cluster", "--policy", "asked", "--follow")
        installed.python("from tasks.backup import full_backup; full_backup.delay(policy='asked')")
        until(lambda: len(installed.runs("asked")) == 2, what="the submitted and the sent backup")
        until(lambda: installed.runs("minutely"), what="the scheduled backup")
    log = (installed.home / "up.err").read_text()
    assert "exited" not in log


def test_an_emergency_medium_brings_everything_back_on_another_clean_machine(
    installed: Installed, elsewhere: Installed
) -> None:
    made = json.loads(installed.ok("strongroom", "emergency", "backup", "emergency", "--force", "--json"))
    medium = elsewhere.home / "medium"
    (installed.home / "medium").rename(medium)
    key = (installed.home / "recovery.key").rename(elsewhere.home / "recovery.key")
    folder = f"emergency/{made['id']}"
    elsewhere.ok("sha256sum", "--check", "--quiet", f"{folder}/SHA256SUMS", cwd=medium)
    assert {"kit.html", "RUNBOOK.md", "recover.py", "FORMAT.md"} <= {
        file.name for file in (medium / folder).iterdir()
    }
    typed = [
        line.strip()
        for line in (medium / folder / "RUNBOOK.md").read_text().splitlines()
        if line.startswith(" " * 7)
    ]
    start = next(at for at, line in enumerate(typed) if line.startswith("KEY_"))
    script = "set -e\n" + "\n".join(typed[start:]).replace("/path/to/recovery", str(key))
    done = elsewhere.run("bash", "-c", script, cwd=medium)
    assert done.returncode == 0, (script, done)
    for name, value in SECRETS.items():
        assert name in done.stdout.splitlines()
        assert value in elsewhere.ok("strongroom", "get", name, "--show-value")


def test_without_its_recovery_program_an_emergency_backup_is_refused_before_anything_is_written(
    wheel: Path, tmp_path: Path
) -> None:
    machine = Installed(install(wheel, tmp_path / "venv"), tmp_path / "home")
    next((tmp_path / "venv").rglob("strongroom/recover/recover.py")).unlink()
    machine.ok("strongroom", "keys", "new", "--output", "recovery.key")
    (machine.home / "strongroom.toml").write_text(CONFIG)
    machine.ok("strongroom", "set", "NAME", text="CANARY-value")
    done = machine.run("strongroom", "emergency", "backup", "emergency", "--force")
    assert done.returncode == ConfigError.exit_code
    assert "Nothing was captured" in done.stderr
    medium = machine.home / "medium"
    assert not [file for file in medium.rglob("*") if file.is_file() and not file.name.startswith(".")]
    assert json.loads(machine.ok("strongroom", "runs", "--json"))["runs"] == []
