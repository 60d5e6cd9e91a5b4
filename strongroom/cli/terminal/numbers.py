"""Numbers as they are typed: what makes no sense is refused, before anything is begun."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError

from strongroom import durations

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
        seconds = durations.parse(word)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ArgumentTypeError("is a time greater than 0 with its unit, such as 90s, 15m, 2h or 7d")
    return seconds
