"""What wakes the supervisor: signals, a child's end, a child that is ready, or time.

Nothing polls. Signals and ``stop`` write to a socket pair, children to pipes that they inherit.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Wakeup:
    """The supervisor's one place to wait. ``stops`` counts how often it was asked to stop."""

    def __init__(self) -> None:
        self.stops = 0
        self._in, self._out = socket.socketpair()
        self._ready_in, self.ready_fd = os.pipe()
        for descriptor in (self._in.fileno(), self._out.fileno(), self._ready_in):
            os.set_blocking(descriptor, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._in, selectors.EVENT_READ)
        self._selector.register(self._ready_in, selectors.EVENT_READ)

    def stop(self) -> None:
        """Ask to stop; from any thread."""
        self.stops += 1
        with suppress(OSError):  # full: it is awake already; or closed: it was stopped meanwhile
            self._out.send(b"\0")

    def wait(self, seconds: float | None) -> set[str]:
        """Wait until something happens or the time is over; return who reported to be ready."""
        ready: set[str] = set()
        for key, _ in self._selector.select(seconds):
            if key.data is not None:
                key.data()
                continue
            with suppress(BlockingIOError):
                if key.fd == self._ready_in:
                    ready.update(os.read(self._ready_in, 4096).decode("ascii", "replace").split())
                else:
                    self._in.recv(4096)
        return ready

    def watch(self, descriptor: int, heed: Callable[[], None]) -> None:
        """Call ``heed`` during a wait, whenever there is something to read."""
        self._selector.register(descriptor, selectors.EVENT_READ, heed)

    def unwatch(self, descriptor: int) -> None:
        """Call it no more."""
        self._selector.unregister(descriptor)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Heed SIGINT, SIGTERM and the ends of children inside the block. Main thread only."""
        before = {number: signal.getsignal(number) for number in (*STOPPING, signal.SIGCHLD)}
        before_fd = signal.set_wakeup_fd(self._out.fileno(), warn_on_full_buffer=False)
        for number in before:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before_fd)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number in STOPPING:
            self.stops += 1

    def close(self) -> None:
        """Give back all descriptors."""
        self._selector.close()
        self._in.close()
        self._out.close()
        os.close(self._ready_in)
        os.close(self.ready_fd)
