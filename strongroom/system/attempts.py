"""Asking several at once, each in a thread of its own, and waiting for none of them for long.

A thread that hangs (a network's disk that went away, in the middle of a system call) cannot be ended. It is
left behind, and ends with the process: a person at 3 a.m. must not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from strongroom.errors import StrongroomError

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
