"""How alerts write lengths of time, and several names."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final

from strongroom.words import plural

_UNITS: Final = ((2 * 86_400.0, 86_400.0, "day"), (2 * 3600.0, 3600.0, "hour"), (120.0, 60.0, "minute"))
MOST: Final = 3


def about(seconds: float) -> str:
    """Write a length of time in the unit that fits it: ``3 days``, ``26 hours``."""
    if not isfinite(seconds):  # of a row that somebody edited
        return "nobody knows how long"
    for least, unit, word in _UNITS:
        if seconds >= least:
            return plural(int(seconds // unit), word)
    return plural(max(0, int(seconds)), "second")


def some(names: Sequence[str]) -> str:
    """Name the first few."""
    shown = ", ".join(names[:MOST])
    more = len(names) - MOST
    return f"{shown} and {more:,} more" if more > 0 else shown
