"""Each command line that a page or a hint names is one that the program takes.

That kit and runbook bring everything back as they stand is tested by typing them (tests/live/test_typed.py).
A line with a word in capitals stands for many: its options are tried here, it is not run.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.cli import parser
from strongroom.cli.table import command_of
from strongroom.errors import StrongroomError
from tests.cli.program import ROOT

PAGES = sorted({*ROOT.glob("docs/**/*.md"), ROOT / "README.md"})
SOURCES = sorted(ROOT.glob("strongroom/**/*.py"))
NAMED_ONLY = ("required", "expected one argument", "Which roles?")
"""What is said of a line that names a command, and not all that it takes."""


PUT = "\x02"
STAND_INS = (("verify", "verify"), ("", ""), ("replace", "verify"))
"""What is put into a line of a hint for its first gap, and for the others: a name, nothing, an action."""


def in_page(page: Path) -> Iterator[str]:
    text = page.read_text()
    yield from re.findall(r"`strongroom ([a-z][^`]*)`", text)
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        yield from re.findall(r"^ *strongroom ([a-z].*)$", block.replace("\\\n", ""), re.MULTILINE)
        yield from re.findall(r"\| strongroom ([a-z].*)$", block, re.MULTILINE)


def in_source(source: Path) -> Iterator[str]:
    """Yield the lines quoted in texts, with PUT in place of what is put in."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else PUT for p in node.values)
            yield from re.findall(r"'strongroom ([a-z][^']*)'", "".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"'strongroom ([a-z][^']*)'", node.value)


def refusal(line: str) -> str:
    """Return why the program does not take a line; nothing if it does."""
    line = re.split(r"   #| \| | >| \|\| | < ", line)[0]
    line = line.replace("...", "").replace("…", "").replace("ROLE", "verify").replace("TIME", "2026-07-20")
    words = shlex.split(line.replace("\n", " ").rstrip("\\"))
    name, behind = command_of(words)
    if not name:
        return "" if words[0] in ("help", "version") else f"there is no command '{' '.join(words[:2])}'"
    try:
        parser.parse(name, behind)
    except SystemExit:  # --help
        return ""
    except StrongroomError as error:
        return "" if any(each in error.message for each in NAMED_ONLY) else error.message
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_program_takes_each_line_that_a_page_names(page: Path) -> None:
    assert {line: why for line in in_page(page) if (why := refusal(line))} == {}


def test_the_program_takes_each_line_that_a_hint_names() -> None:
    lines = {line for source in SOURCES for line in in_source(source)}
    assert len(lines) > 100, "they are found"
    refused = {}
    for line in lines:
        tried = [refusal(line.replace(PUT, first, 1).replace(PUT, others)) for first, others in STAND_INS]
        if all(tried):
            refused[line] = tried
    assert refused == {}


def test_a_line_of_an_option_that_is_not_there_is_noticed() -> None:
    assert refusal("restore --from-target DIR --full-restroe")
    assert refusal("verify-backups DIR")
