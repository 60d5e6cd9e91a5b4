"""What a command is made of, and the numbers that it takes."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from strongroom import times
from strongroom.cli.terminal.output import Output

if TYPE_CHECKING:
    from strongroom.cli.terminal.answer import Answer


# -- What a command is made of ------------------------------------------------------------------


Work = Callable[[Namespace, Output], "Answer | None"]
"""What a command does: it returns its answer, or gives it itself because it goes on afterwards. It raises
a :class:`~strongroom.errors.StrongroomError` for anything a person can put right, or puts one into its
answer; the exit code is that of the error."""


class Command(NamedTuple):
    """A command: what it takes, and which function does its work.

    ``run`` names that function as ``module:function`` within the room. Its module is imported only
    after the arguments were parsed, so help and mistakes are answered at once. An action that is
    nested in a command names its own: ``parser.set_defaults(run="signers:list_signers")``. Where two ways of
    using one command need different modules, ``run`` is a function that chooses by the arguments.
    """

    arguments: Callable[[ArgumentParser], None]
    run: str | Callable[[Namespace], str] = ""
    details: str = ""


# -- Numbers as they are typed: what makes no sense is refused, before anything is begun --------


MOST = 1_000_000
"""More lines than anybody reads, and fewer than a database's number holds."""


def rate(word: str) -> float:
    """Return how many a second; none at all would never end, and a negative one means nothing."""
    try:
        found = float(word)
    except ValueError:
        found = 0.0
    if not (found > 0 and math.isfinite(found)):
        raise ArgumentTypeError("is a number greater than 0")
    return found


def limit(word: str) -> int:
    """Return how many lines to list."""
    found = int(word) if word.isascii() and word.isdigit() and len(word) <= len(str(MOST)) else 0
    if not 1 <= found <= MOST:
        raise ArgumentTypeError(f"is a whole number from 1 to {MOST:,}")
    return found


def duration(word: str) -> float:
    """Return a length of time in seconds."""
    try:
        seconds = times.parse(word)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ArgumentTypeError("is a time greater than 0 with its unit, such as 90s, 15m, 2h or 7d")
    return seconds
