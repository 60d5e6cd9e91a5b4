"""How alerts write several names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_UNITS: Final = ((2 * 86_400.0, 86_400.0, "day"), (2 * 3600.0, 3600.0, "hour"), (120.0, 60.0, "minute"))
MOST: Final = 3


def name_first_few(names: Sequence[str]) -> str:
    """Name the first few."""
    shown = ", ".join(names[:MOST])
    more = len(names) - MOST
    return f"{shown} and {more:,} more" if more > 0 else shown
