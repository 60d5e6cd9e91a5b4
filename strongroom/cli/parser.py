"""Command line parsing whose errors are of our own kind and repeat no value."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from strongroom import __version__
from strongroom.cli.parameters import Command, Run, UnreadableWord, Work, by_name, declare, record_of
from strongroom.cli.table import (
    COMMANDS,
    INTRODUCTION,
    PROCEDURES,
    PROGRAM,
    command_of,
    listed,
    sentence,
    summaries,
    words_of,
)
from strongroom.cli.terminal.output import Output, columns
from strongroom.errors import Untrusted, UsageError
from strongroom.system.lazy import resolve
from strongroom.system.process import loading

if TYPE_CHECKING:
    from msgspec import Struct

_ROOMS = "strongroom.cli.commands"


class Parser(argparse.ArgumentParser):
    """A parser that raises :class:`~strongroom.errors.UsageError` instead of exiting.

    An abbreviated option would change its meaning when a longer one is added.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", _Formatter)
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def _get_value(self, action: argparse.Action, word: str) -> object:
        if not isinstance(action.choices, dict):  # a nested command's words come here, too
            self._check_value(action, word)
        return super()._get_value(action, word)

    def _check_value(self, action: argparse.Action, value: object) -> None:
        # argparse would show what was typed, and its choices as Python writes them.
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"is one of {', '.join(map(str, action.choices))}")

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}", hint=f"See '{self.prog} --help'.")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, found out without :mod:`shutil`: argparse makes a formatter
    for every argument that is added, and that import alone takes longer than parsing."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - 2)


class Parsed(NamedTuple):
    """A line that was read: the command, which function does its work, and its parameters."""

    name: str
    run: Run
    given: Any
    json: bool = False
    quiet: bool = False


def run_command(name: str, words: list[str], output: Output) -> None:
    """Read what stands behind a command, do its work, and give its answer."""
    try:
        with loading():  # the collector would walk all of it twice: a tenth of what a short command takes
            parsed = parse(name, words)
            work = load_work(parsed)
    except SystemExit:  # --help has printed
        return
    output.command, output.json, output.quiet = name, parsed.json, parsed.quiet
    try:
        if (answer := work(parsed.given, output)) is not None:
            output.give(answer)
        if output.ending is not None:
            raise output.ending
    except Untrusted as error:
        raise resolve("strongroom.cli.shared.admission:explained")(error, by_name(parsed.given)) from None


def load(name: str) -> Command:
    """Import what the commands of a room take, and return one of them."""
    commands: dict[str, Command] = import_module(f"{_ROOMS}.{COMMANDS[name].room}.arguments").COMMANDS
    return commands[name]


def load_work(parsed: Parsed) -> Work:
    """Import the module that does what was asked for, and return the function."""
    name = parsed.run if isinstance(parsed.run, str) else parsed.run(parsed.given)
    module, _, function = name.partition(":")
    work: Work = getattr(import_module(f"{_ROOMS}.{COMMANDS[parsed.name].room}.{module}"), function)
    return work


def parser_of(name: str) -> Parser:
    """Return the parser of one command."""
    parser = Parser(prog=f"{PROGRAM} {name}")
    fill(parser, name)
    return parser


def fill(parser: argparse.ArgumentParser, name: str) -> None:
    """Give a parser everything a command takes."""
    command = load(name)
    parser.description = sentence(COMMANDS[name].summary) + (
        f"\n\n{command.details}" if command.details else ""
    )
    declare(parser, command.parameters)
    if command.words:
        words = parser.add_subparsers(
            dest="action", metavar="ACTION", required=not command.run, parser_class=Parser
        )
        for word, entry in command.words.items():
            declare(words.add_parser(word, help=entry.summary), entry.parameters)
    parser.epilog = "\n".join(_beside(name))
    _common(parser)


def _beside(name: str) -> Iterator[str]:
    """Say which names the procedures have for a command, and which commands of two words begin with it."""
    called = [old for old, words in PROCEDURES.items() if words.split(" --")[0] == name]
    if called:
        yield f"The procedures call it {' and '.join(called)}."
    if words := words_of(name):
        yield "commands:"
        yield from listed({f"{name} {word}": entry.summary for word, entry in words.items()})


def whole_parser() -> Parser:
    """Return the parser of all commands, for completion scripts."""
    parser = Parser(prog=PROGRAM, description=INTRODUCTION)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, summary in {**summaries(), **PROCEDURES}.items():
        command, _ = command_of([name])
        added = commands.add_parser(name, help=summary)
        if command:
            fill(added, command)
        if words := words_of(name):
            nested = _nested_in(added) or added.add_subparsers(
                dest="word", metavar="COMMAND", parser_class=Parser
            )
            for word, entry in words.items():
                fill(nested.add_parser(word, help=entry.summary), command_of([name, word])[0])
    return parser


def _nested_in(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[Parser] | None:
    found = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001
    return next(found, None)


def parse(name: str, words: list[str]) -> Parsed:
    """Read what stands behind a command. Raises UsageError for what it does not take."""
    parser, command = parser_of(name), load(name)
    typed, unknown = parser.parse_known_args(words)
    if unknown:
        _refuse(parser, name, unknown)
    word = command.words.get(getattr(typed, "action", None) or "")
    try:
        given: Struct = record_of(word.parameters if word else command.parameters, typed)
    except UnreadableWord as error:
        parser.error(str(error))
    return Parsed(name, word.run if word else command.run, given, typed.json, typed.quiet)


def _refuse(parser: Parser, name: str, unknown: list[str]) -> NoReturn:
    """Refuse what a command does not take, without repeating it: it may be a value."""
    options = [word.partition("=")[0] for word in unknown if word.startswith("--")]
    if name == "set" and len(options) < len(unknown):
        raise UsageError(
            "A value is never given on the command line, where every user of this machine can read it.",
            hint="Pipe it in, or type it at the prompt. Take what you just typed for exposed.",
        )
    more = len(unknown) - len(options)
    unread = options + ([f"{more} more word{'s' if more > 1 else ''}"] if more else [])
    parser.error(f"does not take {', '.join(unread)}")


_COMMON: Final = {
    ("--json",): "print one JSON document, for machines",
    ("-q", "--quiet"): "no progress and no remarks on stderr",
}


def _common(parser: argparse.ArgumentParser, *, default: object = False) -> None:
    """Let a command, and what is nested in it, answer in JSON or be quiet, and say what it does."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to look
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            summaries = {choice.dest: choice.help for choice in action._get_subactions()}  # noqa: SLF001
            for word, nested in action.choices.items():
                nested.description = sentence(summaries[word] or "")
                # Left out, it must not undo what was said before the nested word.
                _common(nested, default=argparse.SUPPRESS)
    group = parser.add_argument_group("output")
    for names, says in _COMMON.items():
        group.add_argument(*names, help=says, action="store_true", default=default)
