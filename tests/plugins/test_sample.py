"""A package of plug-ins, built as a wheel and installed beside Strongroom's into an empty environment."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

import pytest

from strongroom.operations.errors import RunDegraded
from strongroom.plugins import conformance
from strongroom.system.errors import PluginNotImported
from tests.installed.environment import Installed, asked_for, build_wheel, install, link
from tests.process import ROOT

SAMPLE = ROOT / "tests" / "plugins" / "sample"
CONFIG = """
[sources.sheet]
kind = "sheet"
path = "sheet.tsv"

[keys.badge]
kind = "badge"
file = "badge"

[targets.drawer]
kind = "drawer"
path = "drawer.db"
region = "office"

[targets.near]
kind = "directory"
path = "near"
region = "near"
create = true

[rotators.door]
kind = "door"
path = "door"
include = ["*"]

[channels.bell]
kind = "bell"
path = "bell"

[routes.all]
to = ["bell"]

[policies.sheet]
kind = "full"
source = "sheet"
targets = ["drawer", "near"]
recipients = ["badge"]
single_recipient_reason = "a test"
quorum = 1
regions = 1
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("acme")
    programs = install(build_wheel(), folder / "venv")
    words = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        str(folder / "acme"),
    ]
    sample = folder / "sample"
    shutil.copytree(SAMPLE, sample)
    subprocess.run(words, cwd=sample, check=True, capture_output=True)
    [wheel] = (folder / "acme").glob("*.whl")
    words = ["--python", str(programs / "python"), "install", "-q", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    for package in (distribution("pytest"), *asked_for(distribution("pytest"))):
        link(package, site)
    made = Installed(programs, folder / "home")
    shutil.copytree(SAMPLE / "tests", made.home / "tests")
    (made.home / "strongroom.toml").write_text(CONFIG)
    (made.home / "sheet.tsv").write_text(
        f"FIRST\t{b'CANARY-first'.hex()}\nSECOND\t{b'CANARY-second'.hex()}\n"
    )
    (made.home / "drawer.db").touch()
    (made.home / "badge").write_bytes(bytes(range(32)))
    (made.home / "badge").chmod(0o600)
    return made


def test_the_suites_are_run_by_the_pytest_of_that_environment(machine: Installed) -> None:
    done = machine.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "failed" not in done.stdout


def test_secrets_are_backed_up_by_plugins_and_listed_by_check(machine: Installed) -> None:
    machine.ok("strongroom", "backup", "--policy", "sheet", "--force")
    machine.ok("strongroom", "check", "backups", "--policy", "sheet", "--depth", "compared")
    assert machine.ok("strongroom", "list", "--source", "sheet").count("\n") >= 2
    machine.ok("strongroom", "backups", "verify", "drawer")
    assert "sheet" in machine.ok("strongroom", "backups", "list", "--from-target", "drawer")
    words = ("--from-target", "drawer", "--full-restore")
    machine.ok("strongroom", "restore", *words, "--to", "local", "--force")
    assert machine.ok("strongroom", "get", "FIRST", "--show-value").endswith("CANARY-first")
    refused = machine.run("strongroom", "restore", *words, "--to", "sheet", "--force")
    assert "Nothing can be restored into 'sheet': it is only read." in refused.stderr
    checked = machine.ok("strongroom", "check", "config")
    for section, kind in (
        ("targets", "drawer"),
        ("sources", "sheet"),
        ("keys", "badge"),
        ("rotators", "door"),
        ("channels", "bell"),
    ):
        rows = [line for line in checked.splitlines() if "acme-strongroom 1.0" in line]
        [row] = [line for line in rows if line.split()[:2] == [section, kind]]
        assert f"/{kind}.py" in row
    assert "targets of kind 'drawer' by acme-strongroom 1.0" in machine.run("strongroom", "check").stdout


def test_what_one_broken_plugin_takes_along_is_its_own(machine: Installed) -> None:
    [module] = (machine.programs.parent / "lib").rglob("acme_strongroom/drawer.py")
    whole = module.read_text()
    module.write_text("raise RuntimeError('half an update')\n")
    try:
        listed = machine.run("strongroom", "backups", "list")
        assert listed.returncode == 0, listed
        made = machine.run("strongroom", "backup", "--policy", "sheet", "--force")
        assert made.returncode == RunDegraded.exit_code, "the other target has it"
        assert "upload         1 of 2" in made.stdout
        told = machine.run("strongroom", "check", "config")
        assert (told.returncode, PluginNotImported.__name__ in told.stderr) == (
            PluginNotImported.exit_code,
            True,
        )
        assert "RuntimeError: half an update" in told.stdout + told.stderr
        assert "Traceback" not in told.stderr
    finally:
        module.write_text(whole)


def test_a_plugin_that_fails_at_its_work_is_named_and_the_rest_goes_on(machine: Installed) -> None:
    [module] = (machine.programs.parent / "lib").rglob("acme_strongroom/drawer.py")
    whole = module.read_text()
    module.write_text(
        whole.replace("    def _open(self):", "    def _open(self):\n        raise KeyError('CANARY')\n")
    )
    try:
        for words in (("check",), ("check", "storage"), ("backups", "list"), ("backups", "verify", "near")):
            told = machine.run("strongroom", *words)
            assert "a fault of its own" not in told.stderr, words
            assert "CANARY" not in told.stdout + told.stderr
        told = machine.run("strongroom", "backups", "verify", "drawer")
        assert "of package acme-strongroom failed in its" in told.stdout + told.stderr, told
        made = machine.run("strongroom", "backup", "--policy", "sheet", "--force")
        assert made.returncode == RunDegraded.exit_code
    finally:
        module.write_text(whole)


def test_the_page_shows_the_package_as_it_is() -> None:
    page = (ROOT / "docs" / "how-to" / "write-a-plug-in.md").read_text()
    for shown in ("pyproject.toml", "acme_strongroom/drawer.py", "acme_strongroom/sheet.py"):
        assert f"\n{(SAMPLE / shown).read_text()}```\n" in page
    every = set(re.findall(r"`((?:[A-Z]\w+)+)`", page))
    assert {name for name in every if name.endswith("Conformance")} == set(conformance.__all__)
    told = set(re.findall(r"\b[a-z]\w+\b|\b[A-Z]\w+\b", page))
    assert told >= {"SourceKind", "TargetKind", "KeyKind", "RotatorKind", "ChannelKind", "read_private"}
