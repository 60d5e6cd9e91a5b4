"""How fast requests may go: a rate that threads, and if asked for processes, share."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from strongroom.system import files

_MOMENT = struct.Struct("<d")
_SOON = 0.0005  # seconds: below, sleeping costs more than it spares
_FAR = 3600.0  # seconds: no moment written in this boot lies further ahead


class Clock(msgspec.Struct, frozen=True):
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
