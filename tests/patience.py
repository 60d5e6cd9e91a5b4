"""How long a test waits for what must happen, wherever it waits.

It is a hang guard, and measures nothing: four tests share two processors, and what takes a second alone may
take a minute there. A test has a number of seconds of its own only where that number is what it is about.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

PATIENCE: Final = 240.0
"""Two waits in vain fit into the time that pytest gives a test, so that what waited can say for what."""

T = TypeVar("T")


def until(
    condition: Callable[[], T | None], *, what: str | Callable[[], str], seconds: float = PATIENCE
) -> T:
    """Return what ``condition`` gives once it is true.

    Args:
        what: is waited for; a function where it quotes a log, which says the most at the end.
    """
    end = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < end, f"waited in vain for {what if isinstance(what, str) else what()}"
        time.sleep(0.02)
