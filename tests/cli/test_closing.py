"""A command leaves its databases whole: all in one file each, nothing in a journal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import Machine
from tests.cli.test_bad_input import SEALED


def journals(machine: Machine) -> list[str]:
    return [path.name for path in machine.state.rglob("*-wal")]


@pytest.mark.parametrize(
    "words",
    [("list",), ("runs",), ("backup", "all.sr", *SEALED), ("get", "db/password"), ("get", "nothing/here")],
    ids=" ".join,
)
def test_no_journal_is_left(machine: Machine, words: tuple[str, ...]) -> None:
    machine.set("db/password", "CANARY-password")
    machine.ok("runs")
    machine.run(*words)
    assert journals(machine) == []
    assert list(machine.state.rglob("*.db")), "there is what could have one"


READING = """
import os, sqlite3, sys
reader = sqlite3.connect(sys.argv[1], isolation_level=None)
reader.execute("BEGIN")
print(reader.execute("SELECT count(*) FROM secrets").fetchone()[0], flush=True)
sys.stdin.readline()
os._exit(0)
"""


def test_what_was_deleted_while_somebody_read_goes_with_the_next_command(machine: Machine) -> None:
    machine.set("canary/a", "CANARY-a")
    machine.set("canary/b", "CANARY-b")
    [path] = machine.state.rglob("secrets.db")
    with subprocess.Popen(
        [sys.executable, "-c", READING, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "2\n"
        machine.ok("secrets", "delete", "--force", "canary/b")
        reader.communicate("\n")  # it leaves, and closes nothing
    assert b"canary/b" in everything(path)
    machine.ok("list")
    assert b"canary/a" in everything(path)
    assert b"canary/b" not in everything(path)


def everything(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
