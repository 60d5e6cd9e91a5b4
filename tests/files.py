"""What the kernel knows of a file."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE


def locked_by(path: Path) -> set[int]:
    """Return the processes to which the kernel gave a POSIX lock on a file."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" not in line]
    return {int(line[4]) for line in lines if line[5].endswith(f":{path.stat().st_ino}")}


def child_has_a_lock(path: Path, use: Callable[[], object]) -> bool:
    """Tell whether a forked child that uses a file holds a lock on it in its own name."""
    context = multiprocessing.get_context("fork")
    told, go_on = context.Queue(), context.SimpleQueue()
    child = context.Process(target=_show_locks, args=(path, use, told, go_on))
    child.start()
    locked = child.pid in told.get(timeout=PATIENCE)
    go_on.put(None)
    child.join(PATIENCE)
    return locked


def _show_locks(path: Path, use: Callable[[], object], told: Any, go_on: Any) -> None:
    try:
        use()
    finally:
        told.put(locked_by(path))
    go_on.get()
