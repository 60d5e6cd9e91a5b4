"""What a cluster's processes print becomes JSON lines in bounded files, and says why one exited."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import Machine
from tests.patience import until
from tests.workers.cluster import up
from workers.process import LONGEST, ChildLog, LogFile, Wakeup

OURS = {
    "at": "now",
    "level": "error",
    "event": "process-crashed",
    "error": ["ImportError: No module named 'x'"],
}


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    made = Wakeup()
    yield made
    made.close()


def printed(wakeup: Wakeup, folder: Path, *pieces: bytes) -> tuple[ChildLog, list[dict[str, Any]], list[str]]:
    """Print pieces into a child log; return it, what its owner was told, and the lines of its file."""
    told: list[dict[str, Any]] = []
    child_log = ChildLog("seal", LogFile(folder / "seal.log"), wakeup=wakeup, on_line=told.append)
    write = child_log.connect()
    for piece in pieces:
        os.write(write, piece)
        child_log.pump()
    os.close(write)
    child_log.close()
    return child_log, told, (folder / "seal.log").read_text().splitlines()


def test_a_line_of_our_logging_stays_as_it_is_and_is_told(wakeup: Wakeup, tmp_path: Path) -> None:
    text = json.dumps(OURS).encode()
    _, told, lines = printed(wakeup, tmp_path, text[:20], text[20:] + b"\n")
    assert told == [OURS]
    assert [json.loads(line) for line in lines] == [OURS]


def test_whatever_else_is_printed_becomes_json_too(wakeup: Wakeup, tmp_path: Path) -> None:
    _, told, lines = printed(wakeup, tmp_path, b"banner\n\xff\n{]\n", b"[1]\nno end")
    found = [json.loads(line) for line in lines]
    assert [line["text"] for line in found] == ["banner", "\ufffd", "{]", "[1]", "no end"]
    assert {(line["process"], line["event"]) for line in found} == {("seal", "output")}
    assert told == []


def test_the_last_error_is_at_hand(wakeup: Wakeup, tmp_path: Path) -> None:
    child_log, _, _ = printed(wakeup, tmp_path, json.dumps(OURS).encode() + b"\n")
    assert child_log.last_error == "ImportError: No module named 'x'"
    trace = b"Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'y'\n"
    child_log, _, _ = printed(wakeup, tmp_path, trace)
    assert child_log.last_error == "ModuleNotFoundError: No module named 'y'"


def test_a_line_without_an_end_is_cut_and_not_gathered(wakeup: Wakeup, tmp_path: Path) -> None:
    pieces = [b"x" * 60_000] * (LONGEST // 60_000 + 2)
    _, _, lines = printed(wakeup, tmp_path, *pieces)
    assert len(lines) >= 2
    assert sum(len(json.loads(line)["text"]) for line in lines) == sum(map(len, pieces))


def test_a_file_begins_anew_and_the_oldest_goes(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "seal.log", limit=100, kept=2)
    for number in range(20):
        file.write(b"%039d\n" % number)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["seal.log", "seal.log.1", "seal.log.2"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    assert (tmp_path / "seal.log").read_text().endswith("19\n")


def test_up_says_which_process_exits_again_and_again_and_why(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    (machine.home / "broken").mkdir()
    (machine.home / "broken" / "celery.py").write_text("raise ImportError(\"No module named 'packaging'\")\n")
    machine.env["PYTHONPATH"] = str(machine.home / "broken")
    with up(machine, wait=False) as running:
        told = "the process 'control' exited (status 1, 2 times in a row)"
        until(lambda: told in running.errors(), what="the second exit")
        assert "ImportError: No module named 'packaging'" in running.errors()
        until(
            lambda: "the process 'control' runs again (start 3)" in running.errors(), what="the third start"
        )
