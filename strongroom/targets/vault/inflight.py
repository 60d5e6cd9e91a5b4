"""A few requests in flight, answers in order, memory bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def in_order(
    threads: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A], *, ahead: int
) -> Iterator[B]:
    """Yield ``work(item)`` for each of ``items``, in order, taking ``ahead`` at once at most.

    When it ends, however it ends, nothing is under way any more: what comes after may remove what
    was written.
    """
    running: deque[Future[B]] = deque()
    try:
        for item in items:
            running.append(threads.submit(work, item))
            if len(running) >= ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            if not future.cancel():
                future.exception()
