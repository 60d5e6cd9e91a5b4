"""Command line parsing whose errors are of our own kind and repeat no value."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import takewhile
from typing import Final, NoReturn

from strongroom import __version__
from strongroom.cli.table import ALSO, COMMANDS, FORMER, GROUPS, PROCEDURES, SUBJECTS, words_of
from strongroom.cli.terminal.command import Command, Work
from strongroom.cli.terminal.output import columns
from strongroom.errors import UsageError
from strongroom.words import did_you_mean

PROGRAM = "strongroom"
OF_EVERY_COMMAND: Final = frozenset({"--json", "-q", "--quiet"})
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


def command_of(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command that a line begins with, by whichever of its names, and the words behind it.

    The name is empty if there is no such command.
    """
    first, *rest = words or [""]
    if first in PROCEDURES:
        return command_of([*PROCEDURES[first].split(), *rest])
    leading = list(takewhile(OF_EVERY_COMMAND.__contains__, rest))
    second, *behind = [*rest[len(leading) :], ""]
    name = ALSO.get(f"{first} {second}", f"{first} {second}")
    if name in COMMANDS:
        return name, [*leading, *behind[:-1]]
    return (first, rest) if first in COMMANDS else ("", [first, *rest])


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
    parser.epilog = "\n".join(_beside(name))
    _common(parser)


def _beside(name: str) -> Iterator[str]:
    """Say which names the procedures have for a command, and which commands of two words begin with it."""
    called = [old for old, words in PROCEDURES.items() if words.split(" --")[0] == name]
    if called:
        yield f"The procedures call it {' and '.join(called)}."
    if words := words_of(name):
        yield "commands:"
        yield from _listed({f"{name} {word}": entry.summary for word, entry in words.items()})


def _listed(summaries: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, summaries)) + 2
    return (f"  {name:<{width}}{summary}" for name, summary in summaries.items())


def _sentence(summary: str) -> str:
    return f"{summary[:1].upper()}{summary[1:]}."


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


def parse(name: str, arguments: list[str]) -> argparse.Namespace:
    """Parse a command's arguments."""
    parser = parser_of(name)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(parser, name, unknown)
    if getattr(parsed, "follow", False) and not getattr(parsed, "cluster", True):
        parser.error("--follow goes with --cluster: what this process does is followed to its end anyway")
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


def unknown_command(words: Sequence[str]) -> UsageError:
    """Return the error for a line that begins with no command; it repeats nothing that may be a value."""
    name = words[0] if words else ""
    if not name:
        return UsageError("No command was given.", hint=f"See '{PROGRAM} --help'.")
    if name in SUBJECTS:
        what = f"'{PROGRAM} {name}' has no command of that name." if words[1:] else "Which command?"
        near = did_you_mean(words[1], words_of(name)).strip() if words[1:] else ""
        return UsageError(what, hint=near or f"It has: {', '.join(words_of(name))}.")
    if now := FORMER.get(name) or next((command for command in COMMANDS if command.endswith(f" {name}")), ""):
        hint = f"It is '{PROGRAM} {now}'."
    else:
        hint = did_you_mean(name, {**COMMANDS, **PROCEDURES}).strip() or f"See '{PROGRAM} --help'."
    shown = name if name.isprintable() and len(name) < 40 else "of that name"
    return UsageError(f"There is no command {shown!r}.", hint=hint)


def summaries() -> dict[str, str]:
    """Return what a line may begin with, but for the procedures' names, and what it is about."""
    return {name: summary for group in GROUPS for name, summary in summaries_of(group).items()}


def summaries_of(group: str) -> dict[str, str]:
    """Return the commands of a group by their first word."""
    firsts = dict.fromkeys(name.partition(" ")[0] for name in GROUPS[group])
    return {first: COMMANDS[first].summary if first in COMMANDS else SUBJECTS[first] for first in firsts}


def overview() -> str:
    """Return the help of the whole."""
    width = max(map(len, PROCEDURES)) + 2
    lines = [f"usage: {PROGRAM} COMMAND ...", "", INTRODUCTION]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}{summary}" for name, summary in summaries_of(group).items()]
    lines += ["", "Names from the procedures:"]
    lines += [f"  {name:<{width}}{words}" for name, words in PROCEDURES.items()]
    return "\n".join([*lines, "", ENDING])


def help_of_subject(subject: str) -> str:
    """Return the help of what has commands and is none."""
    listed = _listed({word: entry.summary for word, entry in words_of(subject).items()})
    return "\n".join(
        [f"usage: {PROGRAM} {subject} COMMAND ...", "", _sentence(SUBJECTS[subject]), "", *listed, ""]
    )


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
