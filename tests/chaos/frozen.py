"""Stops a process in the middle of a step, without ending it: as a paused virtual machine is."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from strongroom.state.records import StepKind, StepRow, StepState
from strongroom.state.store import RunStore
from tests.patience import until


def working(store: RunStore, run: str, kind: StepKind) -> dict[int, StepRow]:
    """Return what is being performed of a kind, by process: a claim's owner is ``host:pid:role``."""
    running = (row for row in store.rows(run, kind) if row.state is StepState.RUNNING)
    return {int((row.owner or "").split(":")[1]): row for row in running}


def freeze(pid: int, store: RunStore, run: str, kind: StepKind) -> bool:
    """Stop a process for certain in the middle of a step; ``False`` if it had just ended it."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    return pid in working(store, run, kind)


def halt(pid: int, database: Path) -> None:
    """Stop a process, at a moment at which it does not hold SQLite's write lock; see :func:`is_writable`."""

    def stopped() -> bool:
        os.kill(pid, signal.SIGSTOP)
        if is_writable(database):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    until(stopped, what=f"a moment at which process {pid} writes nothing")


def thaw(pid: int) -> None:
    """Let it go on."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def is_writable(database: Path) -> bool:
    """Tell whether nobody holds SQLite's write lock: a process must not be left frozen with it,
    or all the others wait for ever, as for a disk that does not answer."""
    with closing(sqlite3.connect(database, timeout=0.5, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
    return True
