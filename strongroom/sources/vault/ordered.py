"""Many requests in flight, answers in the order that was asked for, memory bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")
_Done = tuple[list[B], int]

SLICE = 8
"""How many items one thread takes at once: handing each over by itself costs a tenth of a request."""
WAITING_BYTES = 8 << 20
"""How much may lie finished and unasked for before no more is begun."""


def ordered(
    threads: ThreadPoolExecutor,
    work: Callable[[A], B],
    items: Sequence[A],
    *,
    in_flight: int,
    weigh: Callable[[B], int],
    together: int = SLICE,
) -> Iterator[B]:
    """Yield ``work(item)`` for each of ``items``, in order.

    What is finished and waits for its turn is at most :data:`WAITING_BYTES`, and what is in flight.

    Args:
        together: how many items one thread takes at once, at most; 1 where they are large.
    """
    flight = _Flight(threads, work, items, in_flight=in_flight, weigh=weigh, together=together)
    try:
        flight.fill()
        while flight.running:
            yield from flight.running.popleft().result()[0]
            flight.fill()
    finally:
        for future in flight.running:
            future.cancel()


class _Flight(Generic[A, B]):
    """What is under way: slices of items, each in a thread."""

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        work: Callable[[A], B],
        items: Sequence[A],
        *,
        in_flight: int,
        weigh: Callable[[B], int],
        together: int,
    ) -> None:
        self._threads = threads
        self._work = work
        self._items = items
        self._weigh = weigh
        self._most = 2 * in_flight
        self._step = max(1, min(together, len(items) // self._most))
        self._starts = iter(range(0, len(items), self._step))
        self.running: deque[Future[_Done[B]]] = deque()

    def fill(self) -> None:
        """Begin as many as may be; at least one, if there are any left and none is under way."""
        while not self.running or (len(self.running) < self._most and self._waiting() < WAITING_BYTES):
            start = next(self._starts, None)
            if start is None:
                return
            self.running.append(self._threads.submit(self._run, start))

    def _run(self, start: int) -> _Done[B]:
        found = [self._work(item) for item in self._items[start : start + self._step]]
        return found, sum(map(self._weigh, found))

    def _waiting(self) -> int:
        done = (future for future in self.running if future.done() and not future.cancelled())
        return sum(future.result()[1] for future in done if not future.exception())
