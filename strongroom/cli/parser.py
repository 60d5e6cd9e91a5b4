"""Command line parsing whose errors are of our own kind and repeat no value."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import NoReturn

from strongroom import __version__
from strongroom.cli.table import COMMANDS, GROUPS
from strongroom.cli.terminal.command import Command, Work
from strongroom.cli.terminal.output import columns
from strongroom.errors import UsageError
from strongroom.words import did_you_mean

PROGRAM = "strongroom"
_ROOMS = "strongroom.cli.commands"
INTRODUCTION = "Sealed, replicated, drilled backups of the secrets that a company runs on."
ENDING = """\
Every command takes --help and --json. Errors say what happened, what it means and what to do;
docs/reference/exit-codes.md lists the exit codes. Settings: STRONGROOM_CONFIG, STRONGROOM_STATE_DIR.
Passphrase: a prompt, --passphrase-file, STRONGROOM_PASSPHRASE_FILE or STRONGROOM_PASSPHRASE.
"""


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


def load(name: str) -> Command:
    """Import what the commands of a room take, and return one of them."""
    commands: dict[str, Command] = import_module(f"{_ROOMS}.{COMMANDS[name].room}.arguments").COMMANDS
    return commands[name]


def load_work(parsed: argparse.Namespace) -> Work:
    """Import the module that does what was asked for, and return the function."""
    name = parsed.run if isinstance(parsed.run, str) else parsed.run(parsed)
    module, _, function = name.partition(":")
    work: Work = getattr(import_module(f"{_ROOMS}.{COMMANDS[parsed.command_name].room}.{module}"), function)
    return work


def parser_of(name: str) -> Parser:
    """Return the parser of one command."""
    parser = Parser(prog=f"{PROGRAM} {name}")
    fill(parser, name)
    return parser


def fill(parser: argparse.ArgumentParser, name: str) -> None:
    """Give a parser everything a command takes."""
    command = load(name)
    parser.description = _sentence(COMMANDS[name].summary) + (
        f"\n\n{command.details}" if command.details else ""
    )
    parser.set_defaults(run=command.run)
    command.arguments(parser)
    _common(parser)


def _sentence(summary: str) -> str:
    return f"{summary[:1].upper()}{summary[1:]}."


def whole_parser() -> Parser:
    """Return the parser of all commands, for completion scripts and documents."""
    parser = Parser(prog=PROGRAM, description=INTRODUCTION)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, entry in COMMANDS.items():
        fill(commands.add_parser(name, help=entry.summary), name)
    return parser


def parse(name: str, arguments: list[str]) -> argparse.Namespace:
    """Parse a command's arguments."""
    parser = parser_of(name)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(parser, name, unknown)
    parsed.command_name = name
    return parsed


def _refuse(parser: Parser, name: str, unknown: list[str]) -> NoReturn:
    """Refuse what a command does not take, without repeating it: it may be a value."""
    options = [word.partition("=")[0] for word in unknown if word.startswith("--")]
    if name == "set" and len(options) < len(unknown):
        raise UsageError(
            "A value is never given on the command line, where every user of this machine can read it.",
            hint="Pipe it in, or type it at the prompt. Take what you just typed for exposed.",
        )
    more = len(unknown) - len(options)
    words = options + ([f"{more} more word{'s' if more > 1 else ''}"] if more else [])
    parser.error(f"does not take {', '.join(words)}")


def unknown_command(name: str) -> UsageError:
    """Return the error for a word that is no command, or for none at all."""
    if not name:
        return UsageError("No command was given.", hint=f"See '{PROGRAM} --help'.")
    hint = did_you_mean(name, COMMANDS).strip() or f"See '{PROGRAM} --help'."
    shown = name if name.isprintable() and len(name) < 40 else "of that name"
    return UsageError(f"There is no command {shown!r}.", hint=hint)


def overview() -> str:
    """Return the help of the whole."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"usage: {PROGRAM} COMMAND ...", "", INTRODUCTION]
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}{entry.summary}" for name, entry in commands.items()]
    return "\n".join([*lines, "", ENDING])


_COMMON = {
    ("--json",): "print one JSON document, for machines",
    ("-q", "--quiet"): "no progress and no remarks on stderr",
}


def _common(parser: argparse.ArgumentParser, *, default: object = False) -> None:
    """Let a command, and what is nested in it, answer in JSON or be quiet, and say what it does."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to look
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            summaries = {choice.dest: choice.help for choice in action._get_subactions()}  # noqa: SLF001
            for word, nested in action.choices.items():
                nested.description = _sentence(summaries[word] or "")
                # Left out, it must not undo what was said before the nested word.
                _common(nested, default=argparse.SUPPRESS)
    group = parser.add_argument_group("output")
    for words, says in _COMMON.items():
        group.add_argument(*words, help=says, action="store_true", default=default)


def is_json(arguments: list[str]) -> bool:
    """Tell whether machines read the answer, even where the arguments could not be parsed."""
    return "--json" in arguments
