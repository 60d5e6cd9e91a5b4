"""Completion in a shell: the script, and the names that it asks for while somebody types.

A script that was loaded once asks ``strongroom __complete KIND`` at each Tab. So this has to answer at once,
in any state of the installation: it reads the configuration's tables and the local database as they are.
It checks and loads nothing and asks nobody. Where something is wrong it knows no names.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from strongroom.cli.table import COMPLETE, PROGRAM
from strongroom.cli.terminal import place

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser

    from strongroom.cli.commands.setup.arguments import PrintCompletion
    from strongroom.cli.terminal.answer import Answer
    from strongroom.cli.terminal.output import Output
    from strongroom.cli.terminal.place import InstallationPlace

# -- The names --------------------------------------------------------------------------------------

_MOST: Final = 200
"""So many of the newest backups and runs: whoever looks for an older one types its date."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]*")
"""A shell expands what it is offered: nothing else than this is."""
_PATIENCE: Final = 0.1  # seconds for a database that is locked


def print_names(kind: str) -> None:
    """Print the names of a kind, one a line; none if there is no such kind, or something is wrong."""
    with suppress(OSError, ValueError, sqlite3.Error):
        for name in NAMES[kind](place.find()) if kind in NAMES else ():
            if _PLAIN.fullmatch(name):
                print(name)


def _section(section: str, *unless_configured: str) -> Callable[[InstallationPlace], Iterator[str]]:
    def names(installation: InstallationPlace) -> Iterator[str]:
        return iter(installation.section(section) or unless_configured)

    return names


def _newest(column: str, table: str) -> Callable[[InstallationPlace], Iterator[str]]:
    def names(installation: InstallationPlace) -> Iterator[str]:
        file = _database(installation)
        if file is None or not file.is_file():
            return
        query = f"SELECT {column} FROM {table} ORDER BY created_at DESC LIMIT {_MOST}"  # noqa: S608 - of here
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)) as connection:
            yield from (name for (name,) in connection.execute(query))

    return names


def _database(installation: InstallationPlace) -> Path | None:
    """Return the file of the state database; ``None`` if it is on a server, which would have to be asked."""
    state = installation.tables.get("state")
    url = state.get("url") if isinstance(state, dict) else None
    if not isinstance(url, str):
        return installation.state_dir / "state.db"
    parts = urlsplit(url)
    return Path(unquote(parts.path[1:])) if parts.scheme == "sqlite" else None


NAMES: Final[dict[str, Callable[[InstallationPlace], Iterator[str]]]] = {
    "policies": _section("policies"),
    "targets": _section("targets", "region-a", "region-b", "region-c"),
    "sources": _section("sources", "local"),
    "keys": _section("keys"),
    "backups": _newest("backup", "catalog"),
    "runs": _newest("id", "runs"),
}

# -- The script -------------------------------------------------------------------------------------

_BY_METAVAR: Final = {
    "POLICY": "policies",
    "ENTRY": "policies",
    "TARGET": "targets",
    "SOURCE": "sources",
    "SPEC": "sources",
    "KEY": "keys",
    "BACKUP": "backups",
    "RUN": "runs",
}
_BY_OPTION: Final = {
    "--policy": "policies",
    "--target": "targets",
    "--from-target": "targets",
    "--source": "sources",
    "--key": "keys",
    "--backup": "backups",
}
"""What an option takes whose metavar says only that it is a name."""
_FILES: Final = ("FILE", "PATH[:FORMAT]")


def print_completion(given: PrintCompletion, output: Output) -> Answer | None:
    """Print the script of a shell."""
    import shtab

    from strongroom.cli.parser import whole_parser
    from strongroom.cli.terminal.answer import Answer
    from strongroom.sheet import Sheet

    parser = whole_parser()
    _complete(parser, shtab.FILE)
    script: str = shtab.complete(parser, shell=given.shell)
    if output.json:
        return Answer(record={"shell": given.shell, "script": script}, sheet=Sheet())
    output.raw(f"{script.rstrip()}\n".encode())
    return None


def _complete(parser: ArgumentParser, files: object) -> None:
    """Complete with files whatever takes one, and with names whatever takes those, in every command."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to look
        if action.metavar in _FILES:
            action.complete = files  # type: ignore[attr-defined]
        elif (kind := kind_taken(action)) and not action.choices:
            ask, function = f"command {PROGRAM} {COMPLETE} {kind} 2>/dev/null", f"_{PROGRAM}_{kind}"
            action.complete = {  # type: ignore[attr-defined]
                "bash": function,
                "zsh": function,
                "fish": f"({ask})",
                "preamble": {
                    "bash": f'{function}() {{ compgen -W "$({ask})" -- "$1"; }}\n',
                    "zsh": f'{function}() {{ compadd -- ${{(f)"$({ask})"}}; }}\n',
                },
            }
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                _complete(command, files)


def kind_taken(action: Action) -> str | None:
    """Return of which kind the names are that an argument or option takes; ``None`` if it takes others."""
    if action.metavar in ("NAME", "ID", "KEY"):
        named = (_BY_OPTION.get(option) for option in action.option_strings)
        if found := next(filter(None, named), None):
            return found
    if action.metavar == "KEY" and action.option_strings:
        return None  # the text of a key, or its file
    return _BY_METAVAR.get(str(action.metavar))
