"""The core of the recovery program alone: recover.py without recover_extra.py beside it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.container.errors import FormatError
from strongroom.errors import by_name
from strongroom.keys.hpke import HpkeIdentity
from strongroom.operations.errors import LeftAside
from strongroom.targets.single_file import BundleReader
from tests.forgeries.genuine import genuine
from tests.forgeries.voices import write_directory, write_keys
from tests.patience import PATIENCE
from tests.recover.families import FAMILIES
from tests.recover.test_keys import sealed
from tests.recover.test_recover import PROGRAM, recover
from tests.recover.test_targets import STORED, _write_key, unpacked


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """The path of recover.py in a folder with nothing beside it."""
    (tmp_path / "alone").mkdir()
    return Path(shutil.copy(PROGRAM, tmp_path / "alone"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A copy of a target with one backup, which the key file beside it opens."""
    _write_key(tmp_path / "key", STORED["target-plain"])
    return unpacked(STORED["target-plain"], tmp_path / "region")


def run(program: Path, *words: str | Path) -> tuple[int, str, str]:
    command = [sys.executable, "-I", program, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr


def named(target: Path) -> tuple[str, str]:
    [manifest] = (target / "manifests").iterdir()
    return "--backup", manifest.stem


def test_the_core_is_short_enough_to_be_read_in_an_emergency() -> None:
    assert len(PROGRAM.read_text().splitlines()) <= 1_100


def test_the_core_alone_brings_back_the_backup_that_is_named(alone: Path, target: Path) -> None:
    words = (target, *named(target), "--key-file", target.parent / "key")
    code, out, err = run(alone, *words, "--list")
    assert (code, len(out.split())) == (0, 8), err
    name = out.split()[0]
    assert run(alone, *words, "--out", target.parent / "out")[0] == 0
    files = sorted((target.parent / "out").iterdir())
    assert len(files) == 8
    assert run(alone, *words, "--get", name)[1].encode() in {file.read_bytes() for file in files}


def test_a_machine_without_the_packages_is_told_which_and_where_they_may_be(alone: Path) -> None:
    command = [sys.executable, "-I", "-S", alone, "region", "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "'cryptography'" in done.stderr
    assert "RUNBOOK.md" in done.stderr


def test_the_core_alone_opens_with_the_private_key_that_keygen_makes(alone: Path, tmp_path: Path) -> None:
    identity = HpkeIdentity.generate()
    identity.save(tmp_path / "recovery.key")
    with BundleReader(sealed(tmp_path, identity.recipient())) as file:
        for info in file.list():
            path = tmp_path / "region" / info.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(file.read(info.name)))
    words = (tmp_path / "region", *named(tmp_path / "region"), "--private-key", tmp_path / "recovery.key")
    assert run(alone, *words, "--get", "app/0001")[:2] == (0, "CANARY-0001-" + "x" * 40)


@pytest.mark.parametrize(
    "what", ["no name", "--shares", "--jsonl", "a backup file", "a key without ML-KEM", "a mark"]
)
def test_for_all_else_the_core_says_what_to_fetch(what: str, alone: Path, target: Path) -> None:
    write_keys(target.parent)
    (target.parent / "file").write_bytes(b"SRBF\r\n\x1a\n" + bytes(100))
    key = ("--key-file", target.parent / "key")
    hpke = target.parent / "hpke"
    write_directory(hpke, {name: genuine().objects[name] for name in genuine().objects}, {})
    if what == "a mark":
        (target / "quarantine" / named(target)[1]).mkdir(parents=True)
        (target / "quarantine" / named(target)[1] / "00000001.json").touch()
    words: dict[str, tuple[str | Path, ...]] = {
        "no name": (target, *key, "--list"),
        "--shares": (target, *named(target), "--shares", "--list"),
        "--jsonl": (target, *named(target), *key, "--jsonl"),
        "a backup file": (target.parent / "file", *key, "--list"),
        "a key without ML-KEM": (hpke, *named(hpke), "--private-key", target.parent / "new.key", "--list"),
        "a mark": (target, *named(target), *key, "--list"),
    }
    code, out, err = run(alone, *words[what])
    assert (code, out) == (10, "")
    assert "needs 'recover_extra.py' beside this file" in err
    assert named(target)[1] in err or what != "no name"


def test_a_path_that_is_not_there_is_named_and_nothing_else_asked_for(alone: Path, tmp_path: Path) -> None:
    code, out, err = run(alone, tmp_path / "nothing", "--list")
    assert (code, out) == (1, "")
    assert err == f"{tmp_path / 'nothing'}: No such file or directory\n"


def test_the_help_says_that_the_second_file_is_missing(alone: Path) -> None:
    assert "'recover_extra.py' is not beside this file" in run(alone, "--help")[1]
    assert "is not beside this file" not in run(PROGRAM, "--help")[1]
    assert "--hsm-private-key" in run(PROGRAM, "--help")[1]


def test_the_program_ends_as_the_product_does_where_something_was_left_aside() -> None:
    assert recover.CODES["LeftAside"] == LeftAside.exit_code


def test_every_class_of_failure_of_the_format_belongs_to_a_family() -> None:
    classes = {kind.__name__ for kind in FormatError.__subclasses__()}
    assert set(FAMILIES) == classes | {"BackupQuarantined", "NewestUnseen", "TargetUnsound"}
    assert set(FAMILIES.values()) == set(recover.CODES)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_program_ends_with_the_exit_code_of_the_product_for_each_class(name: str) -> None:
    kind = by_name(name)
    assert kind is not None
    assert recover.CODES[FAMILIES[name]] == kind.exit_code
