"""Reading on through what somebody put above the one object that counts: in order, and many at once.

Whoever may add objects to a target can put any number of them above a true one, by its name. That must
neither hide it nor take long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

N = TypeVar("N")
T = TypeVar("T")

LOOKED_THROUGH = 100_000
"""Objects of one folder that are read to find a true one among them."""
AT_ONCE = 8
_WINDOW = 512


def read_on(names: Sequence[N], read: Callable[[N], T]) -> Iterator[tuple[N, T]]:
    """Yield each name with what was read of it: the first alone, which nearly always counts, then more and
    more of them at once, for a far place takes long for each."""
    at, size = 0, 1
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while window := names[at : at + size]:
            found = map(read, window) if size == 1 else threads.map(read, window)
            yield from zip(window, found, strict=True)
            at, size = at + size, min(_WINDOW, size * 8)
