"""An emergency backup, the whole installation lost, and everything back: token, three papers, medium."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.targets.directory import MARKER
from tests.cli.conftest import stock
from tests.cli.program import Machine
from tests.keys.quorum.made import made
from tests.live import softhsm
from tests.live.softhsm import SoftHsm

HSM = """
[keys.hsm]
kind = "pkcs11"
mechanism = "ec"
label = "backup"
version = 1
module = "{module}"
token = "backup"
pin_file = "{pin}"
"""
CONFIG = """
[keys.board]
kind = "quorum"
file = "{home}/board.quorum"

[keys.emergency]
kind = "all-of"
legs = [["hsm"], ["board"]]

[targets.safe]
kind = "directory"
path = "{home}/medium"
region = "safe"

[policies.emergency]
kind = "full"
targets = ["safe"]
recipients = ["emergency"]
schedule = "0 3 1 * *"
single_recipient_reason = "the token has a twin in the bank, and any three of five can open"
"""
NAMES = ["DATABASE_PASSWORD", "JWT_SECRET_KEY", "REDIS_PASSWORD"]


@pytest.fixture
def hsm() -> Iterator[SoftHsm]:
    with SoftHsm() as device:
        device.make_token("backup")
        yield device


@pytest.fixture
def lost(hsm: SoftHsm, tmp_path: Path) -> tuple[Path, str]:
    """Make an emergency backup and lose all of the installation but the medium."""
    house = stock(Machine(tmp_path / "house", env=hsm.env))
    quorum, _ = made()
    house.path("board.quorum").write_bytes(quorum.encode())
    public = house.path("hsm.pub")
    where = {"home": house.home, "module": softhsm.module(), "pin": hsm.pin_file}
    config = HSM.format(**where) + f'public_key_file = "{public}"\n'
    house.path("strongroom.toml").write_text(config)
    house.ok("hsm", "create", "hsm")  # a process of its own: this one may hold another device's library
    config += CONFIG.format(**where)
    house.path("strongroom.toml").write_text(config)
    house.path("medium").mkdir()
    (house.path("medium") / MARKER).touch()
    backup: str = house.ok("emergency-backup", "emergency", "--force", "--json").document["id"]
    medium = tmp_path / "medium"
    house.path("medium").rename(medium)
    shutil.rmtree(house.home)
    return medium, backup


def papers(folder: Path, count: int) -> list[Path]:
    _, words = made()
    return [softhsm.file_with(folder / f"share{at}", f"{words[at]}\n") for at in range(count)]


def signers(medium: Path, backup: str) -> list[str]:
    """Take the restore line's words from the runbook, as a person would."""
    lines = (medium / "emergency" / backup / "RUNBOOK.md").read_text().splitlines()
    [line] = [line for line in lines if line.strip().startswith("strongroom restore")]
    words = line.strip().rstrip("\\").split()
    return [words[at + 1] for at, word in enumerate(words) if word == "--signer"]


def test_with_strongroom_on_a_clean_machine(lost: tuple[Path, str], hsm: SoftHsm, tmp_path: Path) -> None:
    medium, backup = lost
    clean = Machine(tmp_path / "clean", env=hsm.env)
    where = {"module": softhsm.module(), "pin": hsm.pin_file}
    clean.path("strongroom.toml").write_text(HSM.format(**where))
    words = ["restore", "--from-target", medium, "--backup", backup, "--full-restore"]
    words += [word for signer in signers(medium, backup) for word in ("--signer", signer)]
    words += ["--quorum", medium / "emergency" / backup / "board.quorum"]
    two = [word for paper in papers(tmp_path, 2) for word in ("--share", paper)]
    assert clean.run(*words, *two).code != 0
    three = [word for paper in papers(tmp_path, 3) for word in ("--share", paper)]
    clean.ok(*words, *three)
    assert sorted(one["name"] for one in clean.ok("list", "--json").document["secrets"]) == NAMES
    assert clean.ok("get", "JWT_SECRET_KEY", "--show-value").out.strip().endswith("CANARY-JWT")


def test_with_nothing_but_the_medium(lost: tuple[Path, str], hsm: SoftHsm, tmp_path: Path) -> None:
    medium, backup = lost
    shares = tmp_path / "shares"
    shares.write_text("\n".join(paper.read_text() for paper in papers(tmp_path, 3)))
    tool = medium / "emergency" / backup / "recover.py"
    containers = sorted((medium / "containers" / backup).iterdir())
    opening = ["--hsm", softhsm.module(), "--token", "backup", "--pin-file", hsm.pin_file]
    done = subprocess.run(
        [sys.executable, "-I", tool, *containers, *opening, "--share-file", shares, "--list"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == NAMES


def test_the_kit_names_the_device_and_the_custodians(lost: tuple[Path, str]) -> None:
    medium, backup = lost
    kit = (medium / "emergency" / backup / "kit.html").read_text()
    for wanted in ("Ada", "Björn", "backup", "any 3 of 5"):
        assert wanted in kit
    assert "not seen here" not in kit
    assert softhsm.PIN not in kit
