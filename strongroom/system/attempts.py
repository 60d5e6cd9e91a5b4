"""Attempts: how long each may take, how fast they follow each other, and what was begun is taken back."""

from __future__ import annotations

import math
import os
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.system import files

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


# -- How fast requests may go: a rate that threads, and if asked for processes, share -----------


_MOMENT = struct.Struct("<d")
_SOON = 0.0005  # seconds: below, sleeping costs more than it spares
_FAR = 3600.0  # seconds: no moment written in this boot lies further ahead


class Clock(Struct, frozen=True):
    """The time that passes while we wait."""

    wait: Callable[[float], object] = time.sleep
    monotonic: Callable[[], float] = time.monotonic


CLOCK = Clock()


class RequestPace:
    """Hands out moments, ``1 / rate`` seconds apart; after a pause, none before it ends.

    Args:
        rate: requests a second; ``None`` for as fast as they come.
        shared: a file through which the processes of one host share the rate. It holds one
            moment of the monotonic clock, which all of them read alike.
    """

    def __init__(
        self, rate: float | None = None, *, shared: Path | None = None, clock: Clock = CLOCK
    ) -> None:
        self._clock = clock
        self._step = 1.0 / rate if rate else 0.0
        self._shared = shared if rate else None
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Sleep until it is this thread's turn."""
        if not self._step and not self._next:
            return
        delay = self._turn() - self._clock.monotonic()
        if delay > _SOON:
            self._clock.wait(delay)

    def pause(self, seconds: float) -> None:
        """Let nobody go for so long: the server asked for it."""
        with self._lock:
            self._next = max(self._next, self._clock.monotonic() + seconds)

    def _turn(self) -> float:
        with self._lock:
            if not self._step:
                return self._ended()
            with self._moment() as moment:
                turn = max(moment[0], self._next, self._clock.monotonic())
                moment[0] = turn + self._step
            self._next = max(self._next, turn) if self._shared else turn + self._step
            return turn

    def _ended(self) -> float:
        if self._next <= self._clock.monotonic():
            self._next = 0.0
        return self._next

    @contextmanager
    def _moment(self) -> Iterator[list[float]]:
        if self._shared is None:
            yield [self._next]
            return
        # The first command on a new machine may be a restore: no state directory is there yet.
        self._shared.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with files.locked(self._shared, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW) as descriptor:
            moment = [_read(descriptor)]
            yield moment
            os.pwrite(descriptor, _MOMENT.pack(moment[0]), 0)


def _read(descriptor: int) -> float:
    content = os.pread(descriptor, _MOMENT.size, 0)
    moment = float(_MOMENT.unpack(content)[0]) if len(content) == _MOMENT.size else 0.0
    # A file from before a reboot, or nonsense, must not hold up anybody for long.
    return moment if 0.0 <= moment <= time.monotonic() + _FAR else 0.0


# -- What was begun is taken back if it does not come to its end --------------------------------


@contextmanager
def on_failure(undo: Callable[[], object]) -> Iterator[None]:
    """Call ``undo`` if the block ends in any exception, an interruption too; the exception goes on."""
    try:
        yield
    except BaseException:
        undo()
        raise
