"""The pages of commands and of exit codes, made from the parsers and the errors so that they cannot go stale.

``python scripts/make_reference.py`` writes them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
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
_CODES = """\
# Exit codes

<!-- Made from the code: python scripts/make_reference.py -->

The exit code of a command names a *family* of errors, which is what a shell script needs.
The error itself has a name, which the first line of its report on stderr gives: `strongroom: WrongKey`.
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
    return _HEAD + "".join(_groups()).rstrip("\n") + "\n"


def exit_codes_markdown() -> str:
    """Return the page of exit codes."""
    return _CODES + "".join(_codes())


def _groups() -> Iterator[str]:
    for group, commands in GROUPS.items():
        yield f"## {group}\n\n"
        for name in commands:
            yield _command(name)
    yield "## Names from the procedures\n\n"
    yield "Each takes the options of the command that it stands for, and does what that does.\n\n"
    yield "| Name | Command |\n|---|---|\n"
    yield from (f"| `{name}` | `{words}` |\n" for name, words in (PROCEDURES | ALSO).items())


def _command(name: str) -> str:
    parser = parser_of(name)
    summary, details = COMMANDS[name].summary, load(name).details
    text = f"### {name}\n\n{summary[0].upper()}{summary[1:]}.\n\n"
    if details:
        text += f"```text\n{details}\n```\n\n" if "  " in details else f"{details}\n\n"
    return text + _table(parser) + "".join(_nested(name, parser))


def _nested(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to look
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for word, inner in action.choices.items():
                yield f"#### {name} {word}\n\n{inner.description}\n\n" + _table(inner)


def _table(parser: argparse.ArgumentParser) -> str:
    rows = [row for action in parser._actions if (row := _row(action))]  # noqa: SLF001
    return "| Argument | Meaning |\n|---|---|\n" + "".join(rows) + "\n" if rows else ""


def _row(action: argparse.Action) -> str:
    unseen = action.help == argparse.SUPPRESS or action.dest in ("help", "json", "quiet")
    if unseen or isinstance(action.choices, dict):
        return ""
    words = ", ".join(action.option_strings)
    takes = str(action.metavar or "") if action.nargs != 0 else ""
    repeated = " …" if action.nargs == "+" else ""
    shown = f"{words} {takes}".strip() + repeated
    return f"| `{shown}` | {_cell(action.help or '')} |\n"


def _codes() -> Iterator[str]:
    """Yield a row for each exit code, then a table of each family's errors."""
    families = {kind.exit_code: (f"`{kind.family}`", meaning_of(kind)) for kind in FAMILIES}
    for code, (name, meaning) in sorted((_OWN_CODES | families).items()):
        yield f"| {code} | {name} | {_cell(meaning)} |\n"
    for family in FAMILIES:
        yield f"\n## {family.family} ({family.exit_code})\n\n"
        yield "| Error | Meaning | What to do |\n|---|---|---|\n"
        yield from (
            _error(kind) for kind in (family, *leaves()) if issubclass(kind, family) and kind.default_hint
        )


_OWN_CODES: Final = {
    failures.UNEXPECTED: ("", "Strongroom itself failed. Please report it, with the line that it prints."),
    failures.INTERRUPTED: ("", "Ctrl-C ended it. It left nothing half-written, or says what it left."),
    failures.BROKEN_PIPE: ("", "The program that read the output stopped reading."),
    failures.TERMINATED: ("", "SIGTERM ended it. It left nothing half-written, or says what it left."),
}


def _error(kind: type[StrongroomError]) -> str:
    return f"| `{kind.__name__}` | {_cell(meaning_of(kind))} | {_cell(kind.default_hint)} |\n"


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
