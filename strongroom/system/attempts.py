"""Attempts: how long each may take, when the next begins, and what was begun is taken back."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from strongroom.errors import StrongroomError

# -- Asking several at once, each in a thread of its own, and waiting for none of them for long ---
#
# A thread that hangs (a network's disk that went away, in the middle of a system call) cannot be ended. It is
# left behind, and ends with the process: a person at 3 a.m. must not wait for it.


T = TypeVar("T")
Late = type[StrongroomError]


def run_all(
    seconds: float, works: Mapping[str, Callable[[], T]], *, late: Callable[[str], Late]
) -> dict[str, T | StrongroomError]:
    """Do all of it at once; return what came of each: its result, or the error that it ended in.

    Any other exception than a StrongroomError is raised here.

    Args:
        late: gives the class of error that it is not to have come to an end in time, by the work's name.
    """
    queue: SimpleQueue[tuple[str, T | BaseException]] = SimpleQueue()
    for name, work in works.items():
        Thread(target=partial(_do, queue, name, work), name=f"run-all:{name}", daemon=True).start()
    found: dict[str, T | StrongroomError] = {}
    until = time.monotonic() + seconds
    while len(found) < len(works):
        try:
            name, outcome = queue.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            break
        if isinstance(outcome, BaseException) and not isinstance(outcome, StrongroomError):
            raise outcome
        found[name] = outcome
    return {name: found[name] if name in found else _late(seconds, late(name)) for name in works}


def _do(queue: SimpleQueue[tuple[str, T | BaseException]], name: str, work: Callable[[], T]) -> None:
    try:
        queue.put((name, work()))
    except BaseException as error:  # noqa: BLE001 - it is raised by whoever waits
        queue.put((name, error))


def _late(seconds: float, error: Late) -> StrongroomError:
    return error(
        f"no answer within {seconds:g} s",
        hint="Check whether it can be reached at all. The others went on.",
    )


# -- How long to wait before something that failed is tried again -------------------------------


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


# -- What was begun is taken back if it does not come to its end --------------------------------


@contextmanager
def on_failure(undo: Callable[[], object]) -> Iterator[None]:
    """Call ``undo`` if the block ends in any exception, an interruption too; the exception goes on."""
    try:
        yield
    except BaseException:
        undo()
        raise
