"""Whatever the program and its documents tell a person to type can be typed."""

from __future__ import annotations

import argparse
import ast
import functools
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from strongroom.cli.parser import parse, parser_of
from strongroom.cli.table import ALSO, COMMANDS, PROCEDURES, SUBJECTS, command_of
from strongroom.errors import UsageError
from tests.cli.program import ROOT

PACKAGES = ("strongroom", "tasks", "workers")
PLACE = "X"
"""What stands in a text for what is put in when it is shown."""

CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
NAMES = "|".join(sorted({*COMMANDS, *PROCEDURES, *ALSO}, key=len, reverse=True))
WORD = r"(?:[ \t]|\\\n)+[^\s'\";,()`|#]+"
NO_LINE = "".join(
    f"(?<!{before})" for before in ("-n ", "namespace ", "install ", "upgrade ", "role/", "policies=")
)
"""A namespace, a policy and a release are called as the program is."""
TYPED = re.compile(
    rf"{NO_LINE}strongroom ([a-z][a-z-]*)((?:{WORD})*)"
    rf"|(?<![\w-] )(?<!-)\b({NAMES})((?:\s+--(?:[a-z-]+)(?:{WORD})?)+)"
)


@functools.cache
def texts() -> list[tuple[str, str]]:
    """Return every text of the program and its documents, and where it is."""
    return list(_texts())


def _texts() -> Iterator[tuple[str, str]]:
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for line, text in texts_in(path):
            yield f"{path.relative_to(ROOT)}:{line}", text
    pages = {*ROOT.glob("*.md")} - {ROOT / "CHANGELOG.md"}  # what was has the names that it had
    for path in (*pages, *(ROOT / "docs").rglob("*.md"), *(ROOT / "ops").rglob("*.md")):
        for code in CODE.findall(path.read_text(encoding="utf-8")):
            yield str(path.relative_to(ROOT)), code


def texts_in(path: Path) -> Iterator[tuple[int, str]]:
    parts: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts.update(map(id, node.values))
            yield node.lineno, "".join(_constant(value) for value in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def _constant(value: ast.expr) -> str:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else PLACE


def hints() -> list[tuple[str, list[str]]]:
    """Return where a command is named, and the words of it."""
    return [
        (where, (found[1] or found[3]).split() + (found[2] or found[4] or "").split())
        for where, text in texts()
        for found in TYPED.finditer(text)
    ]


def options_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options of a command and of what is nested in it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for nested in action.choices.values():
                yield from options_of(nested)
        elif action.option_strings:
            yield action


def problems(line: list[str]) -> Iterator[str]:
    name, words = command_of([word.rstrip(".:") for word in line])
    if not name:
        if line[0] not in SUBJECTS or line[1:2] != ["--help"]:
            yield f"there is no command {' '.join(line[:2])}"
        return
    options = {string: action for action in options_of(parser_of(name)) for string in action.option_strings}
    for word, following in pairwise([*words, ""]):
        option = re.match(r"--[a-z][a-z0-9-]*", word)
        if option is None:
            continue
        action = options.get(option[0])
        if action is None:
            yield f"{name} has no {option[0]}"
        elif action.choices and following.islower() and following.rstrip(".:") not in set(action.choices):
            yield f"{name} {option[0]} takes no {following!r}"


def test_commands_that_are_named_exist_with_their_options() -> None:
    found = hints()
    assert len(found) > 90
    assert [(where, problem) for where, words in found for problem in problems(words)] == []


def test_a_command_of_several_is_named_with_one_of_them_where_a_person_is_told_to_type_it() -> None:
    several = "|".join(name for name in COMMANDS if nested_in(name))
    alone = re.compile(rf"'strongroom ({several}|{'|'.join(SUBJECTS)})'")
    assert [where for where, text in texts() if alone.search(text)] == []


def nested_in(name: str) -> bool:
    actions = parser_of(name)._actions
    return any(isinstance(action, argparse._SubParsersAction) and action.required for action in actions)


@pytest.mark.parametrize(
    "line",
    ["verify", "backups", "restore --from", "backups verify --depth deepest", "keys signers --leaked"],
)
def test_a_hint_that_is_wrong_is_found(line: str) -> None:
    assert len(list(problems(line.split()))) == 1


def test_a_wrong_choice_is_answered_with_the_right_ones_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        parse("backups verify", ["file", "--depth", "CANARY"])
    assert "--depth: is one of present, digest, opened, compared" in str(caught.value)
    assert "CANARY" not in str(caught.value)
