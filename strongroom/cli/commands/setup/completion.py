"""completion: the script that completes commands, options and files in a shell."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

import shtab

from strongroom.cli.parser import whole_parser
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.sheet import Sheet


def print_completion(arguments: Namespace, output: Output) -> Answer | None:
    parser = whole_parser()
    _complete_files(parser, shtab.FILE)
    script: str = shtab.complete(parser, shell=arguments.shell)
    if not output.json:
        output.raw(script.encode())
        return None
    return Answer(record={"shell": arguments.shell, "script": script}, sheet=Sheet())


def _complete_files(parser: ArgumentParser, files: object) -> None:
    """Complete with files whatever takes one, in every command."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to look
        if action.metavar in ("FILE", "PATH[:FORMAT]"):
            action.complete = files  # type: ignore[attr-defined]
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                _complete_files(command, files)
