"""A medium that carries the wheels of the recovery program opens where there is no network and no package."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from scripts.sbom import LOCK, pins
from strongroom.errors import UsageError
from strongroom.operations.backup.medium import LOCKED, wheels_of
from tests.cli.program import ROOT
from tests.installed.environment import Installed, build_wheel, install
from tests.installed.test_wheel import CONFIG
from tests.patience import PATIENCE

NEEDED = ("cffi", "cryptography", "pycparser", "zstandard")
PYTHON = f"cp{sys.version_info.major}{sys.version_info.minor}"
HERE, THERE = "manylinux_2_17_x86_64", "manylinux_2_17_aarch64"


def packed(name: str, folder: Path, platform: str, *, python: str = PYTHON) -> Path:
    """Make a wheel of an installed package again: its files, under the name of a platform."""
    package = distribution(name)
    tag = "py3-none-any" if name == "pycparser" else f"{python}-{python}-{platform}"
    wheel = folder / f"{name}-{package.version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in package.files or ():
            source = Path(str(package.locate_file(file)))
            if ".." not in file.parts and source.suffix != ".pyc" and source.is_file():
                archive.write(source, str(file))
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of this Python for two systems, of which the second is the first under another name."""
    folder = tmp_path_factory.mktemp("wheels")
    for platform in (HERE, THERE):
        for name in NEEDED:
            packed(name, folder, platform)
    return folder


def locked(folder: Path) -> str:
    """Return a lock of what lies in a folder."""
    lines = []
    for wheel in sorted(folder.glob("*.whl")):
        name, version, *_ = wheel.name.split("-")
        lines.append(f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}")
    return "\n".join(lines)


def test_what_is_locked_for_the_medium_is_what_the_lock_says() -> None:
    own, all_of_it = pins((ROOT / "ops" / "recover" / LOCKED).read_text()), pins(LOCK.read_text())
    assert own == {name: all_of_it[name] for name in NEEDED}


def test_wheels_that_are_whole_for_two_systems_are_taken(wheels: Path) -> None:
    found = wheels_of(wheels, locked(wheels))
    assert len(found.files) == 7
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert found.systems == (
        f"Python {version} on manylinux aarch64",
        f"Python {version} on manylinux x86_64",
    )


@pytest.mark.parametrize("missing", [f"zstandard-*{THERE}.whl", f"cryptography-*{HERE}.whl", "pycparser-*"])
def test_wheels_that_are_whole_for_one_system_alone_are_refused(
    wheels: Path, tmp_path: Path, missing: str
) -> None:
    lock = locked(wheels)
    for wheel in set(wheels.glob("*.whl")) - set(wheels.glob(missing)):
        os.link(wheel, tmp_path / wheel.name)
    with pytest.raises(UsageError, match="whole for two systems"):
        wheels_of(tmp_path, lock)


def test_a_wheel_that_is_not_as_it_is_locked_is_refused(wheels: Path, tmp_path: Path) -> None:
    for wheel in wheels.glob("*.whl"):
        (tmp_path / wheel.name).write_bytes(wheel.read_bytes())
    changed = next(tmp_path.glob(f"cffi-*{HERE}.whl"))
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(UsageError, match=changed.name):
        wheels_of(tmp_path, locked(wheels))


def test_a_folder_without_wheels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="are for none"):
        wheels_of(tmp_path, "cffi==1 --hash=sha256:" + "0" * 64)


def test_the_medium_opens_in_an_empty_environment_without_a_network(wheels: Path, tmp_path: Path) -> None:
    machine = Installed(install(build_wheel(), tmp_path / "venv"), tmp_path / "home")
    next((tmp_path / "venv").rglob(f"site-packages/strongroom/recover/{LOCKED}")).write_text(locked(wheels))
    machine.ok("strongroom", "keys", "new", "--output", "recovery.key")
    (machine.home / "strongroom.toml").write_text(CONFIG)
    machine.ok("strongroom", "set", "NAME", text="CANARY-value")
    words = (
        "strongroom",
        "emergency",
        "backup",
        "emergency",
        "--force",
        "--with-wheels",
        str(wheels),
        "--json",
    )
    made = json.loads(machine.ok(*words))
    medium, folder = machine.home / "medium", f"emergency/{made['id']}"
    machine.ok("sha256sum", "--check", "--quiet", f"{folder}/SHA256SUMS", cwd=medium)
    sums = (medium / folder / "SHA256SUMS").read_text()
    assert all(f"{folder}/wheels/{wheel.name}" in sums for wheel in wheels.glob("*.whl"))
    runbook = [line.strip() for line in (medium / folder / "RUNBOOK.md").read_text().splitlines()]
    assert any(f"Python {sys.version_info.major}.{sys.version_info.minor}" in line for line in runbook)
    assert any("for no other Python" in line for line in runbook)
    pip = next(at for at, line in enumerate(runbook) if line.startswith("python3 -m pip install"))
    [signer] = set(re.findall(r"sr1:[0-9a-f]{64}", "\n".join(runbook)))
    lines = [
        "\n".join(runbook[pip : pip + 2]),
        next(line for line in runbook if line.startswith("export PYTHONPATH")),
        (
            f"python3 {folder}/recover.py . --backup {made['id']} --signer {signer} "
            f"--private-key {machine.home}/recovery.key --out $HOME/recovered"
        ),
    ]
    # A Python of its own with pip and nothing else: no package, no variable, and as root no network.
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "bare")], check=True)
    (tmp_path / "safe-room").mkdir()
    apart = ["unshare", "-n"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [
            *apart,
            "env",
            "-i",
            f"HOME={tmp_path / 'safe-room'}",
            f"PATH={tmp_path / 'bare' / 'bin'}:/usr/bin:/bin",
            "sh",
            "-ec",
            "\n".join(lines),
        ],
        cwd=medium,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    recovered = tmp_path / "safe-room" / "recovered"
    assert done.returncode == 0, done
    assert [file.read_text() for file in recovered.rglob("*") if file.is_file()] == ["CANARY-value"], done
