"""What commands print is what the files of this folder say, and they say it of every command."""

from __future__ import annotations

import difflib
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from tests.golden.lists import leaves, lists
from tests.golden.names import Names
from tests.golden.script import COMMAND, FOLDER, scripts
from tests.process import ROOT

ANEW = "if it is meant: 'python -m tests.golden [NAME]', and commit what 'git diff tests/golden' shows"
SHOWN = 60


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What came of every script, in a process whose clock stands."""
    folder = tmp_path_factory.mktemp("golden")
    words = [sys.executable, "-m", "tests.golden", "--to", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, timeout=900)
    return folder


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", scripts())
def test_a_command_prints_what_it_printed(played: Path, name: str) -> None:
    hold(f"{name}.txt", (played / f"{name}.txt").read_text(encoding="utf-8"))


def test_what_has_a_name_keeps_it() -> None:
    hold("lists.txt", lists())


def hold(file: str, found: str) -> None:
    expected = (FOLDER / file).read_text(encoding="utf-8")
    changes = difflib.unified_diff(expected.splitlines(), found.splitlines(), "was", "is", lineterm="", n=1)
    shown = "\n".join(islice(changes, SHOWN))
    assert not shown, f"tests/golden/{file} says otherwise; {ANEW}\n{shown}"


def test_every_command_is_typed() -> None:
    lines = [line for name in scripts() for line in (FOLDER / f"{name}.txt").read_text().splitlines()]
    commands = [found["words"] for line in lines if (found := COMMAND.fullmatch(line.removeprefix("$ ")))]
    typed = [[*map(str, (words or "").split())] for words in commands]
    known = {tuple(name.split()) for name, _ in leaves()}
    reached = {
        max((leaf for leaf in known if leaf == (*words[: len(leaf)],)), default=(), key=len)
        for words in typed
    }
    assert not [" ".join(leaf) for leaf in sorted(known - reached)], "type it in a file of tests/golden"


def test_an_id_of_digits_alone_has_a_name_too_and_a_number_has_none() -> None:
    names = Names("/nowhere")
    assert names.named("alerts silence --end 02785740") == "alerts silence --end id000001"
    assert names.named('{"id": "02785740", "size": 12345678}') == '{"id": "id000001", "size": 12345678}'
