"""Each command names the half that does its work by a string: every one leads to a function."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator

import pytest

from strongroom.cli.parser import Parsed, load, load_work, parser_of
from strongroom.cli.table import COMMANDS


def parsers(name: str) -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of a command that may be typed so, or those of what is nested in it."""
    parser = parser_of(name)
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not all(action.required for action in nested):
        yield parser
    if not nested:
        yield parser
    for action in nested:
        yield from action.choices.values()


def works(name: str) -> Iterator[tuple[str, str]]:
    """Yield each function that a command may lead to, with what it is called by: its word, or nothing."""
    command = load(name)
    runs = {"": command.run} if command.run else {}
    runs |= {word: entry.run for word, entry in command.words.items()}
    for word, run in runs.items():
        choices = [run] if isinstance(run, str) else re.findall(r"\"(\w+:\w+)\"", inspect.getsource(run))
        yield from ((word, choice) for choice in choices)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_work_that_a_command_names_is_a_function_of_what_was_given_and_the_output(name: str) -> None:
    found = list(works(name))
    assert found
    command = load(name)
    for word, run in found:
        given, output = inspect.signature(load_work(Parsed(name, run, None))).parameters.values()
        assert output.name.lstrip("_") == "output"
        assert given.name.lstrip("_") == "given"
        kind = command.words[word].parameters if word else command.parameters
        assert given.annotation in [base.__name__ for base in kind.__mro__], run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_word_of_a_command_names_its_work(name: str) -> None:
    command = load(name)
    assert command.run or command.words
    assert all(entry.run for entry in command.words.values())
