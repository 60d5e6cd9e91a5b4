"""Forked processes of one command: where they are safe, and that none outlives it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1


def may_fork() -> bool:
    """Tell whether forking is safe on this system: on macOS its frameworks forbid it."""
    return sys.platform == "linux"


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, which would otherwise leave it waiting
    for ever: it inherited both ends of what it reads or writes."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM wait until the block ends; forked processes never get them.

    Python drops what a signal's handler raises while it forks: the command would go on as if
    nobody had stopped it. A child would unwind its parent's stack and report for it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
