"""An emergency backup, the whole installation lost, and everything back: token, three papers, medium."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import pytest

from strongroom.targets.directory import MARKER
from tests.cli.conftest import stock
from tests.cli.program import SCRIPT, Machine
from tests.keys.quorum.made import made
from tests.live import softhsm
from tests.live.softhsm import SoftHsm
from tests.patience import PATIENCE

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
offline = true
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
    house.ok(
        "keys", "hsm", "create", "hsm"
    )  # a process of its own: this one may hold another device's library
    config += CONFIG.format(**where)
    house.path("strongroom.toml").write_text(config)
    house.path("medium").mkdir()
    (house.path("medium") / MARKER).touch()
    backup: str = house.ok("emergency", "backup", "emergency", "--force", "--json").document["id"]
    medium = tmp_path / "medium"
    house.path("medium").rename(medium)
    shutil.rmtree(house.home)
    return medium, backup


def papers(folder: Path, count: int) -> list[Path]:
    _, words = made()
    return [softhsm.file_with(folder / f"share{at}", f"{words[at]}\n") for at in range(count)]


def typed(machine: Machine, folder: Path, lines: str) -> subprocess.CompletedProcess[str]:
    """Type lines into a shell, as they stand on paper."""
    program = f'set -e; strongroom() {{ "{sys.executable}" "{SCRIPT}" "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", program + lines],
        cwd=folder,
        env=machine.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def printed(medium: Path, backup: str) -> str:
    """Return what the kit says to type first, up to the restore, for a medium at this place."""
    kit = (medium / "emergency" / backup / "kit.html").read_text()
    blocks = [unescape(part.partition("</pre>")[0]) for part in kit.split("<pre>")[1:]]
    (block,) = [block for block in blocks if "# without" in block]
    lines = re.sub(r"MEDIUM=\S+", f"MEDIUM={medium}", block[: block.index("# without S")])
    return re.sub("^sha256sum .*", "", lines, flags=re.MULTILINE)  # its strongroom.toml gets the PIN's file


def in_runbook(medium: Path, backup: str) -> str:
    text = (medium / "emergency" / backup / "RUNBOOK.md").read_text()
    return text[text.index("       export ") : text.index("   It restores,")]


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("lines_of", [in_runbook, printed])
def test_what_is_printed_and_what_lies_on_the_medium_brings_everything_back_word_for_word(
    lost: tuple[Path, str], hsm: SoftHsm, tmp_path: Path, lines_of: Callable[[Path, str], str]
) -> None:
    medium, backup = lost
    clean = Machine(tmp_path / "clean", env=hsm.env)
    own = medium / "emergency" / backup / "strongroom.toml"
    # Nobody sits here who could be asked: the PIN and the papers come from files.
    own.write_text(own.read_text() + f'pin_file = "{hsm.pin_file}"\n')
    lines = lines_of(medium, backup)
    two, three = (" ".join(f"--share {paper}" for paper in papers(tmp_path, count)) for count in (2, 3))
    assert typed(clean, medium, lines.replace("--verify-after", f"{two} --verify-after")).returncode != 0
    done = typed(clean, medium, lines.replace("--verify-after", f"{three} --verify-after"))
    assert done.returncode == 0, done
    assert sorted(one["name"] for one in clean.ok("list", "--json").document["secrets"]) == NAMES
    assert clean.ok("get", "JWT_SECRET_KEY", "--show-value").out.strip().endswith("CANARY-JWT")


def test_the_checksums_hold_and_a_changed_medium_is_told(lost: tuple[Path, str]) -> None:
    medium, backup = lost
    words = ["sha256sum", "--check", "--quiet", f"emergency/{backup}/SHA256SUMS"]
    assert subprocess.run(words, cwd=medium, capture_output=True, check=False).returncode == 0
    runbook = medium / "emergency" / backup / "RUNBOOK.md"
    runbook.write_text(runbook.read_text() + " ")
    assert subprocess.run(words, cwd=medium, capture_output=True, check=False).returncode == 1


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
