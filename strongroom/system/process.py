"""Keeping what a process knows in its memory: no core dump, no look from beside, no swap."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from functools import cache
from pathlib import Path
from typing import Final

# Linux's: prctl(2), mlockall(2), capabilities(7).
_SET_DUMPABLE = 4
_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4
_IPC_LOCK: Final = 1 << 14


def keep_in_memory() -> bool:
    """Have the kernel write this process's memory nowhere, nor show it to other processes of its user.

    It never makes the process fail: memory is locked only where no limit stands against it, since under one
    the next allocation beyond the limit would be refused. Pages are locked as they are used, so the process
    gets no larger. A forked process does not inherit the locks, and takes its own.

    Returns:
        Whether the memory is locked. Without the right to, and off Linux, it is not.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return False
    _library().prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    return lock() and _lock_in_children()


def lock() -> bool:
    """Lock this process's memory, if no limit stands against it; tell whether it is."""
    if not may_lock():
        return False
    locked: int = _library().mlockall(_CURRENT | _FUTURE | _ON_FAULT)
    return locked == 0


def may_lock() -> bool:
    """Tell whether memory may be locked without a limit."""
    if sys.platform != "linux":
        return False
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    return unlimited or bool(_capabilities() & _IPC_LOCK)


def swaps(listed: Path = Path("/proc/swaps")) -> list[str]:
    """Return the disks that memory may be written to. Compressed memory (zram) is no disk.

    Raises:
        OSError: the system does not tell.
    """
    areas = [line.split()[0] for line in listed.read_text(errors="replace").splitlines()[1:] if line.strip()]
    return [area for area in areas if not area.startswith("/dev/zram")]


@cache
def _lock_in_children() -> bool:
    os.register_at_fork(after_in_child=lock)
    return True


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _capabilities() -> int:
    try:
        lines = Path("/proc/self/status").read_bytes().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith(b"CapEff:")), 0)
