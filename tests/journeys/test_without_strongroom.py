"""The machine is gone, and Strongroom with it: recover.py, Python and two packages bring everything back."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.cli.program import ROOT, Done, Machine
from tests.installed.environment import asked_for, link
from tests.journeys.house import CRITICAL, MONTHLY, NEWEST_WEEKLY, REGIONS, House
from tests.patience import PATIENCE


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has cryptography and zstandard, what these need, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    names = ["cryptography"] if sys.version_info >= (3, 14) else ["cryptography", "zstandard"]
    for name in names:
        for package in (distribution(name), *asked_for(distribution(name))):
            link(package, site)
    for file in ("recover.py", "recover_extra.py"):
        shutil.copy(ROOT / "ops" / "recover" / file, folder)
    return folder


def python(bare: Path, cwd: Path, *words: str | Path) -> Done:
    """Run the bare Python in an environment without a single variable."""
    line = ["/usr/bin/env", "-i", str(bare / "bin" / "python"), "-I", *map(str, words)]
    done = subprocess.run(line, cwd=cwd, capture_output=True, timeout=PATIENCE, check=False)
    return Done(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())


def recover(bare: Path, house: House, other: Machine, *words: str | Path) -> Done:
    keys = ("--private-key", "recovery.key", "--signer", house.signer)
    return python(bare, other.home, bare / "recover.py", *words, *keys)


def test_that_python_knows_no_strongroom(bare: Path, tmp_path: Path) -> None:
    assert python(bare, tmp_path, "-c", "import cryptography").code == 0
    for name in ("strongroom", "msgspec"):
        assert "ModuleNotFoundError" in python(bare, tmp_path, "-c", f"import {name}").err


@pytest.mark.parametrize("region", REGIONS)
def test_everything_comes_out_of_either_target_with_one_key_and_one_fingerprint(
    bare: Path, house: House, other: Machine, region: str
) -> None:
    done = recover(bare, house, other, region, "--out", "recovered")
    assert done.code == 0, done
    found = {unquote(file.name): file.read_text() for file in other.path("recovered").iterdir()}
    assert found == MONTHLY
    monthly, nightly = house.newest("monthly-full"), house.newest("daily-metadata")
    assert f"backup {monthly} of policy 'monthly-full', made 2025-02-01T04:00:10Z: 4 secrets" in done.err
    assert f"passed over: {nightly} of policy 'daily-metadata' and 21 more like it" in done.err

    single = recover(bare, house, other, region, "--get", CRITICAL)
    assert (single.code, single.out) == (0, NEWEST_WEEKLY)
    assert "CANARY" not in done.out + done.err + single.err


def test_a_damaged_container_is_named_and_the_other_target_gives_it(
    bare: Path, house: House, other: Machine
) -> None:
    shutil.rmtree(other.path("region-a") / "containers" / house.newest("monthly-full"))
    damaged = recover(bare, house, other, "region-a", "--out", "recovered")
    assert (damaged.code, "LOST: piece 0 (4 secrets): Missing: " in damaged.err) == (12, True)
    assert "another copy" in damaged.err
    again = recover(bare, house, other, "region-b", "--out", "recovered")
    assert (again.code, again.err) == (1, "recovered: File exists. Name another.\n")
    assert recover(bare, house, other, "region-b", "--out", "whole").code == 0
    assert {unquote(file.name): file.read_text() for file in other.path("whole").iterdir()} == MONTHLY


def test_a_key_of_another_installation_and_another_fingerprint_open_nothing(
    bare: Path, house: House, other: Machine
) -> None:
    other.ok("keys", "new", "--output", "strange.key")
    line = (bare / "recover.py", "region-a", "--list", "--private-key")
    assert python(bare, other.home, *line, "strange.key", "--signer", house.signer).code == 10
    done = python(bare, other.home, *line, "recovery.key", "--signer", f"sr1:{'0' * 64}")
    assert (done.code, done.out) == (13, "")
