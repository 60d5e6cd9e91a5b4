"""What has a name that users know: commands and options, settings, alerts, metrics, events, exit codes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Final

from scripts.make_reference import EVENTS
from strongroom.cli.parser import parser_of
from strongroom.cli.reference import exit_codes_markdown
from strongroom.cli.table import COMMANDS
from strongroom.config.reference import reference_markdown
from strongroom.operations.judge.kinds import KINDS, FindingKind
from strongroom.operations.judge.metrics import MEASURES

COMMON: Final = ("help", "json", "quiet")


def lists() -> str:
    """Return each list, one name a line."""
    found = {
        "Commands and their options": [_with_options(name, parser) for name, parser in leaves()],
        "Settings": [*_settings()],
        "Alerts": [_of_kind(name, kind) for name, kind in KINDS.items()],
        "Metrics": [f"{one.name} ({one.kind}): {', '.join(one.labels)}".rstrip(": ") for one in MEASURES],
        "Events": [*EVENTS],
        "Exit codes and their errors": [*_exit_codes()],
    }
    return "\n".join(f"# {title}\n\n" + "\n".join(lines) + "\n" for title, lines in found.items())


def leaves() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield each command that can be typed, with what is nested in it, and its parser."""
    for name in COMMANDS:
        yield from _leaves(name, parser_of(name))


def _leaves(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not any(action.required for action in nested):
        yield name, parser
    for action in nested:
        for word, inner in action.choices.items():
            yield from _leaves(f"{name} {word}", inner)


def _with_options(name: str, parser: argparse.ArgumentParser) -> str:
    shown = [
        "/".join(action.option_strings) or str(action.metavar or action.dest).upper()
        for action in parser._actions
        if action.dest not in COMMON and not isinstance(action, argparse._SubParsersAction)
    ]
    return f"{name}: {' '.join(shown)}".rstrip(": ")


def _settings() -> Iterator[str]:
    section = ""
    for line in reference_markdown().splitlines():
        if found := re.match(r"#### (kind = .*)|### \[(.*)\]", line):
            section = f"[{found[2]}] " if found[2] else f"{section.partition('] ')[0]}] {found[1]} "
        elif key := re.match(r"\| `([a-z_]+)` \|", line):
            yield f"{section}{key[1]}"


def _exit_codes() -> Iterator[str]:
    for line in exit_codes_markdown().splitlines():
        if found := re.match(r"\| (\d+) \| (`\w+`)?|\| `(\w+)` \|", line):
            yield f"{found[1]} {found[2] or ''}".rstrip() if found[1] else f"  {found[3]}"


def _of_kind(name: str, kind: FindingKind) -> str:
    exits = dict.fromkeys(error.exit_code for error in (kind.grave, kind.error) if error)
    return f"{name}: {' or '.join(kind.severities)}, {' or '.join(map(str, exits))}"
