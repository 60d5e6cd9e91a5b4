"""Forked processes of one command: where they are safe, and that none outlives it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

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
