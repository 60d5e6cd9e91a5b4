"""What has a name that users know: commands and options, settings, alerts, metrics, events, exit codes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from typing import Final

from scripts.make_reference import EVENTS
from strongroom.alert_kinds import KINDS, AlertKind
from strongroom.cli.parser import parser_of
from strongroom.cli.reference import exit_codes_markdown
from strongroom.cli.table import COMMANDS
from strongroom.config.model import Settings
from strongroom.config.schema import Field, SettingsSection, fields_of, is_table, kind_of, models_of
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
    described: set[type[SettingsSection]] = set()
    yield from _taken("", fields_of(Settings), described)
    for section, field in fields_of(Settings).items():
        yield from _section(section, field, described)


def _section(section: str, field: Field, described: set[type[SettingsSection]]) -> Iterator[str]:
    """Yield what a section takes, once, however many sections are read as it."""
    models = models_of(field.kind)
    section += ".NAME" if is_table(field.kind) else ""
    for model in () if described.intersection(models[:1]) else models:
        kind = f'kind = "{kind_of(model)}" ' if kind_of(model) else ""
        yield from _taken(f"[{section}] {kind}", fields_of(model), described)
        described.add(model)
        for name, taken in fields_of(model).items():
            yield from _section(f"{section}.{name}", taken, described)


def _taken(before: str, fields: Mapping[str, Field], described: set[type[SettingsSection]]) -> Iterator[str]:
    below = {*described}
    for name, field in fields.items():
        models = models_of(field.kind)
        if not models or models[0] in below:
            yield f"{before}{name}"
        below.update(models[:1])


def _exit_codes() -> Iterator[str]:
    for line in exit_codes_markdown().splitlines():
        if found := re.match(r"\| (\d+) \| (`\w+`)?|- `(\w+)`", line):
            yield f"{found[1]} {found[2] or ''}".rstrip() if found[1] else f"  {found[3]}"


def _of_kind(name: str, kind: AlertKind) -> str:
    return f"{name}: {' or '.join(kind.severities)}, {' or '.join(map(str, kind.exit_codes))}"
