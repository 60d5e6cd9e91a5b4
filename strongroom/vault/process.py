"""One of something for each process, made on first use."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_everywhere: weakref.WeakSet[PerProcess[Any]] = weakref.WeakSet()


class PerProcess(Generic[T]):
    """Makes its thing again in a forked child.

    A pooled connection that two processes share hands one of them the answer to the other's
    request: a secret under a foreign name. What the parent made is kept, unused, so that
    collecting it in the child cannot write to the parent's connections.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._held: tuple[int, T] | None = None
        self._foreign: list[T] = []
        self._lock = threading.Lock()
        _everywhere.add(self)

    def get(self) -> T:
        """Return this process's own."""
        made = self._held
        if made is not None and made[0] == os.getpid():
            return made[1]
        with self._lock:
            return self._own()

    def peek(self) -> T | None:
        """Return this process's own if there is one."""
        made = self._held
        return made[1] if made is not None and made[0] == os.getpid() else None

    def _own(self) -> T:
        if self._held is not None and self._held[0] != os.getpid():
            self._foreign.append(self._held[1])
            self._held = None
        if self._held is None:
            self._held = (os.getpid(), self._make())
        return self._held[1]

    def forked(self) -> None:
        """Forget a lock that a thread of the parent may have held: nobody here would release it."""
        self._lock = threading.Lock()


def _renew_locks() -> None:
    for each in list(_everywhere):
        each.forked()


os.register_at_fork(after_in_child=_renew_locks)
