"""incident readers --key: who opened what a key opens, before anything is put into quarantine."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from shlex import join
from typing import Any

from msgspec import to_builtins

from strongroom.cli.commands.incident import render
from strongroom.cli.shared.services import open_services
from strongroom.cli.shared.settings import asking
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.errors import UsageError
from strongroom.operations.archive.incidents import StepOutcome, Suspicion
from strongroom.operations.incident.perform import incomplete
from strongroom.operations.incident.readers import readers_of
from strongroom.operations.key_management.usage import pinned_key
from strongroom.wiring.keys import pin


def find_readers_of_keys(arguments: Namespace, output: Output) -> None:
    """Say who opened what some keys open; no incident is opened, and nothing is changed."""
    settings = load_settings()
    keys = tuple(sorted(key_of(word, settings) for word in arguments.key))
    named = [word for key in arguments.key for word in ("--key", key)]
    again = join(("strongroom", "incident", "readers", *named))
    found = readers_of(open_services(settings), Suspicion(keys=keys), again=again)
    output.answer(to_builtins(found), _lines(found))
    if (error := incomplete(found.missing)) is not None:
        raise error


def _lines(found: StepOutcome) -> Iterator[str]:
    yield from render.readers(found) if found.readers else ("Nobody, by the record of this host.",)
    yield from (f"not looked at: {backup}: {why}" for backup, why in found.missing.items())
    yield from (f"To do: {line}" for line in found.left)


def key_of(word: str, found: Any) -> str:
    """Return what stanzas call a key that was named: a configured one, or as 'keys --json' calls it."""
    if word in found.keys:
        return pinned_key(pin(word, found, asking()))
    if ":" not in word:
        known = ", ".join(found.keys) or "none"
        raise UsageError(f"There is no key '{word}'.", hint=f"Configured: {known}. Others: 'keys --json'.")
    return word
