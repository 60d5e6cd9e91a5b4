"""A sample of a set of numbers, small enough for a run's record: it tells how alike two large sets are."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

SIZE = 256


class Sample:
    """The lowest of the numbers that it was given (bottom-k: Cohen and Kaplan, PODC 2007).

    The numbers come out of a keyed hash, so the lowest are a fair choice, and the same one each time.
    """

    def __init__(self) -> None:
        self._heap: list[int] = []

    def add(self, number: int) -> None:
        """Consider a number."""
        if len(self._heap) < SIZE:
            heapq.heappush(self._heap, -number)
        else:
            heapq.heappushpop(self._heap, -number)

    def numbers(self) -> tuple[int, ...]:
        """Return the sample, the lowest first."""
        return tuple(sorted(-number for number in self._heap))


def share_unknown(now: Sequence[int], known: Sequence[int]) -> float:
    """Return which part of what one sample stands for was not in the set of the other, an earlier one.

    Exact up to :data:`SIZE` numbers; of more, an estimate that is off by a few hundredths.
    """
    highest = known[-1] if len(known) >= SIZE else float("inf")
    compared = [number for number in now if number <= highest]
    earlier = set(known)
    return sum(number not in earlier for number in compared) / len(compared) if compared else float(bool(now))
