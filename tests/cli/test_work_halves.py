"""Each command names the half that does its work by a string: every one leads to a function."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator

import pytest

from strongroom.cli.parser import Parser, load_work, parser_of
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


def works(name: str) -> Iterator[argparse.Namespace]:
    """Yield what parsing would come to, once for each function that it may lead to."""
    for parser in parsers(name):
        run = parser.get_default("run") or parser_of(name).get_default("run")
        choices = [run] if isinstance(run, str) else re.findall(r"\"(\w+:\w+)\"", inspect.getsource(run))
        yield from (argparse.Namespace(command_name=name, run=choice) for choice in choices)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_work_that_a_command_names_is_a_function_of_arguments_and_output(name: str) -> None:
    found = list(works(name))
    assert found
    for namespace in found:
        taken = [name.lstrip("_") for name in inspect.signature(load_work(namespace)).parameters]
        assert taken == ["arguments", "output"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_action_of_a_command_names_its_work(name: str) -> None:
    parser = parser_of(name)
    assert isinstance(parser, Parser)
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in nested:
        for word, inner in action.choices.items():
            assert inner.get_default("run") or parser.get_default("run"), word
