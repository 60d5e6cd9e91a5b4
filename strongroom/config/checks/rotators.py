"""Rotators: each says which secrets it is for, and makes values that nobody can guess."""

from __future__ import annotations

from collections.abc import Iterator
from math import log2

from strongroom.config.checks.context import Context, Misfit
from strongroom.config.rotators import (
    AwsRotator,
    CommandRotator,
    RandomRotator,
    RotatorSettings,
    VaultEngineRotator,
)
from strongroom.config.sources import AwsSourceSettings

_WHICH = 'Write which: include = ["prod/db/*"], or tags. For every secret: include = ["*"].'
_PATH = 'Write where it is, for example: ["/usr/local/bin/try-login"].'
_NO_WRITING = ("nothing can be written to this source", "Name one that can be restored into.")
_WHOSE = "Name the source whose secrets are written there."
_SAME = "Name a source on the same server, with a login that may write."
LEAST_BITS = 64
CHARACTERS = {"alphanumeric": 62, "letters": 52, "digits": 10, "hex": 16}


def check(context: Context) -> Iterator[Misfit]:
    """Yield rotators that are for anything, of a source that cannot be written, or make weak values."""
    for name, rotator in context.settings.rotators.items():
        at = ("rotators", name)
        if not (rotator.include or rotator.tags) and not context.is_bad(*at, "include"):
            yield Misfit((*at, "include"), "missing, and there are no tags", _WHICH)
        yield from _programs(name, rotator)
        if isinstance(rotator, VaultEngineRotator) and rotator.check and not rotator.read:
            yield Misfit(
                (*at, "check"), "there is nothing to try: 'read' is missing", "Add read, or leave it out."
            )
        yield from _source(context, name, rotator)
        if isinstance(rotator, RandomRotator | CommandRotator):
            yield from _strength(name, rotator)


def _programs(name: str, rotator: RotatorSettings) -> Iterator[Misfit]:
    programs = {"check": rotator.check}
    if isinstance(rotator, CommandRotator):
        programs["command"] = rotator.command
    for key, program in programs.items():
        if program and not program[0].startswith("/"):
            yield Misfit(("rotators", name, key), "the program is not named by its absolute path", _PATH)


def _source(context: Context, name: str, rotator: RotatorSettings) -> Iterator[Misfit]:
    yield from _destination(context, name, rotator)
    if rotator.source is None:
        return
    key = ("rotators", name, "source")
    yield from context.reference(key, rotator.source, "sources")
    source = context.settings.sources.get(rotator.source)
    if source is not None and not source.WRITABLE:
        yield Misfit(key, *_NO_WRITING)
    elif isinstance(rotator, AwsRotator) and source is not None and not isinstance(source, AwsSourceSettings):
        yield Misfit(key, "it is no source of AWS", "Name one of kind aws.")


def _destination(context: Context, name: str, rotator: RotatorSettings) -> Iterator[Misfit]:
    if rotator.destination is None:
        return
    key = ("rotators", name, "destination")
    yield from context.reference(key, rotator.destination, "sources")
    sources = context.settings.sources
    there = sources.get(rotator.destination)
    if there is not None and not there.WRITABLE:
        yield Misfit(key, *_NO_WRITING)
    if rotator.source is None:
        yield Misfit(("rotators", name, "source"), "missing, and there is a destination", _WHOSE)
    elif there is not None and type(sources.get(rotator.source)) is not type(there):
        yield Misfit(key, f"it is of another kind than '{rotator.source}'", _SAME)


def _strength(name: str, rotator: RandomRotator | CommandRotator) -> Iterator[Misfit]:
    bits = rotator.length * log2(CHARACTERS[rotator.alphabet] + len(set(rotator.symbols)))
    if bits < LEAST_BITS:
        what = f"values of {bits:.0f} bits can be guessed"
        yield Misfit(("rotators", name, "length"), what, f"Make it longer: {LEAST_BITS} bits at least.")
