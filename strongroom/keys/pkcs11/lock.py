"""One lock round every call into any PKCS#11 library of this process.

The Python binding initializes libraries without locking of their own and lets other threads
run during calls: two at once, even in sessions of their own, end the process or give wrong
results. A fork waits for the lock, so that no child inherits a library in the middle of a call,
and the child begins with a lock of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Guard:
    """Holds the lock, which a child has to replace: the thread that held it is not there."""

    def __init__(self) -> None:
        self.lock = threading.RLock()

    def hold(self) -> None:
        self.lock.acquire()

    def release(self) -> None:
        self.lock.release()

    def renew(self) -> None:
        self.lock = threading.RLock()


_guard = _Guard()
os.register_at_fork(before=_guard.hold, after_in_parent=_guard.release, after_in_child=_guard.renew)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the process's one lock. The same thread may take it again."""
    with _guard.lock:
        yield
