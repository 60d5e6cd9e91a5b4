"""The pages of commands and of exit codes, made from the parsers and the errors so that they cannot go stale.

``python scripts/make_reference.py`` writes them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Final

from strongroom.cli.parser import load, parser_of
from strongroom.cli.table import ALSO, COMMANDS, GROUPS, PROCEDURES
from strongroom.cli.terminal import failures
from strongroom.errors import FAMILIES, MODULES, StrongroomError, meaning_of

_HEAD = """\
# Commands

<!-- Made from the code: python scripts/make_reference.py -->

Run a command as `strongroom COMMAND`.
`python scripts/secrets_cli.py COMMAND` runs the same program.

- The answer goes to stdout.
  With `--json` it is exactly one JSON document, also after an error.
- Progress, remarks and errors go to stderr.
  Progress is shown on a terminal only, and `--quiet` leaves out progress and remarks.
- An error says what happened, what it means for the data, and what to do next ([exit codes](exit-codes.md)).
- A secret value is read from stdin or a hidden prompt, never from the command line.
- A passphrase is read from the first of these that is set: `--passphrase-file`, `STRONGROOM_PASSPHRASE_FILE`,
  `STRONGROOM_PASSPHRASE`, a hidden prompt.
- No file is overwritten without `--force`, and a new file gets its name only after it was read back.
- Reading and restoring from a file need no configuration, no database and no broker.
- `STRONGROOM_DEBUG=1` shows where an error came from, and never a value.

"""
_SHARED_HEAD = """\
## Options that several commands take

A command lists these by name alone.
Where it takes one with another meaning, that stands with the command.

"""
SEVERAL: Final = 3
"""An option that so many commands take with one meaning is described once."""
_CODES = """\
# Exit codes

<!-- Made from the code: python scripts/make_reference.py -->

The exit code of a command names a *family* of errors, which is what a shell script needs.
The error itself has a name, which the first line of its report on stderr gives: `strongroom: WrongKey`.
The report also says what to do, as `strongroom runs show RUN` does of a run that failed.
With `--json` the document has `error`, which is `null` if the exit code is 0.
Otherwise it holds `code` (the name), `family`, `exit_code`, `message`, `means`, `hint` (what to do) and
`transient` (whether trying again can help).
A command that answered before it ended with an error gives both: its answer, and `error`.

| Code | Family | Meaning |
|---:|---|---|
| 0 | | The command did its work, to the depth that the answer says. |
"""


def commands_markdown() -> str:
    """Return the page of commands."""
    shared = _shared()
    described = "".join(f"- `{shown}`: {meaning}\n" for shown, meaning in shared.items())
    return f"{_HEAD}{_SHARED_HEAD}{described}\n{''.join(_groups(shared))}".rstrip("\n") + "\n"


def exit_codes_markdown() -> str:
    """Return the page of exit codes."""
    return _CODES + "".join(_codes())


def _shared() -> dict[str, str]:
    """Return the options that several commands take with one meaning, each with its most common one."""
    every = Counter(
        option for name in COMMANDS for _, _, parser in _parsers(name) for option in _options(parser)
    )
    often = [option for option, many in every.most_common() if many >= SEVERAL]
    meanings = dict(reversed(often))
    return {shown: meanings[shown] for shown, _ in every if shown in meanings}


def _groups(shared: Mapping[str, str]) -> Iterator[str]:
    for group, commands in GROUPS.items():
        yield f"## {group}\n\n"
        for name in commands:
            yield _command(name, shared)
    yield "## Names from the procedures\n\n"
    yield "Each takes the options of the command that it stands for, and does what that does.\n\n"
    yield from (f"- `{name}`: `{words}`\n" for name, words in (PROCEDURES | ALSO).items())


def _command(name: str, shared: Mapping[str, str]) -> str:
    summary, details = COMMANDS[name].summary, load(name).details
    text = f"### {name}\n\n{summary[0].upper()}{summary[1:]}.\n\n"
    if details:
        text += f"```text\n{details}\n```\n\n" if "  " in details else f"{details}\n\n"
    for nested, description, parser in _parsers(name):
        text += f"#### {nested}\n\n{description}\n\n" if nested != name else ""
        text += _list(parser, shared)
    return text


def _parsers(name: str) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Yield a command's parser and those nested in it, each with its name and what it does."""
    parser = parser_of(name)
    yield name, "", parser
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to look
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for word, inner in action.choices.items():
                yield f"{name} {word}", inner.description or "", inner


def _list(parser: argparse.ArgumentParser, shared: Mapping[str, str]) -> str:
    options = [*_options(parser)]
    own = [f"- `{shown}`: {meaning}\n" for shown, meaning in options if shared.get(shown) != meaning]
    also = [
        f"`{shown.split(' ')[0].rstrip(',')}`" for shown, meaning in options if shared.get(shown) == meaning
    ]
    lines = [*own, f"- and {', '.join(also)}\n"] if also else own
    return "".join(lines) + "\n" if lines else ""


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield what a command takes, as it is typed, and what it means."""
    for action in parser._actions:  # noqa: SLF001
        unseen = action.help == argparse.SUPPRESS or action.dest in ("help", "json", "quiet")
        if not unseen and not isinstance(action.choices, dict):
            takes = str(action.metavar or "") if action.nargs != 0 else ""
            repeated = " …" if action.nargs == "+" else ""
            yield f"{', '.join(action.option_strings)} {takes}".strip() + repeated, action.help or ""


def _codes() -> Iterator[str]:
    """Yield a row for each exit code, then a list of each family's errors."""
    families = {kind.exit_code: (f"`{kind.family}`", meaning_of(kind)) for kind in FAMILIES}
    for code, (name, meaning) in sorted((_OWN_CODES | families).items()):
        yield f"| {code} | {name} | {_cell(meaning)} |\n"
    for family in FAMILIES:
        yield f"\n## {family.family} ({family.exit_code})\n\n"
        yield from (
            _error(kind, family)
            for kind in (family, *leaves())
            if issubclass(kind, family) and kind.default_hint
        )


_OWN_CODES: Final = {
    failures.UNEXPECTED: ("", "Strongroom itself failed. Please report it, with the line that it prints."),
    failures.INTERRUPTED: ("", "Ctrl-C ended it. It left nothing half-written, or says what it left."),
    failures.BROKEN_PIPE: ("", "The program that read the output stopped reading."),
    failures.TERMINATED: ("", "SIGTERM ended it. It left nothing half-written, or says what it left."),
}


def _error(kind: type[StrongroomError], family: type[StrongroomError]) -> str:
    """Return the line of an error. What its family means stands in the table above."""
    meaning = meaning_of(kind)
    return f"- `{kind.__name__}`\n" if meaning == meaning_of(family) else f"- `{kind.__name__}`: {meaning}\n"


def leaves() -> list[type[StrongroomError]]:
    """Return every error that belongs to a family."""
    return [kind for name in MODULES for kind in _defined(import_module(name)) if kind.family]


def _defined(module: ModuleType) -> list[type[StrongroomError]]:
    return [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, StrongroomError) and kind.__module__ == module.__name__
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
