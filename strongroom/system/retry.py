"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

Draw = Callable[[float, float], float]
_DOUBLINGS = 30
"""A bound for the arithmetic: no wait is doubled as often."""


def backoff(failures: int, *, first: float, longest: float = math.inf, draw: Draw = random.uniform) -> float:
    """Return the seconds to wait after so many failures in a row: longer each time, and never the same.

    Half of the time is certain and half is drawn ("equal jitter"; M. Brooker, Exponential Backoff And
    Jitter, AWS Architecture Blog, 2015): clients that failed together must not come back together, and
    none must come back at once.
    """
    whole = min(longest, first * 2.0 ** min(failures - 1, _DOUBLINGS))
    return draw(whole / 2, whole)
