"""SQLite's files: nothing but SQLite opens them, and no open one crosses a fork.

POSIX drops all of a process's locks on a file as soon as the process closes any descriptor of that
file (sqlite.org/howtocorrupt.html, 2.2). SQLite goes on believing that it holds them. A forked child
believes so too: it inherits SQLite's list of locks, and the kernel gave it none. In both cases the
next process that closes the database last deletes the write-ahead log under the one without a lock,
and what that one committed is gone.

So a file is created only where there is none, and never opened again but through :func:`connect`. A fork
waits until nobody uses a connection, and closes all that are open first.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

FORK_WAITS: Final = 30.0
"""Seconds that a fork waits for transactions of other threads. None of them should take that long."""

EXIT_WAITS: Final = 2.0
"""Seconds that the end of a process waits for them."""


class CrossedFork(sqlite3.OperationalError):
    """The database was in use when this process was forked, so its locks here would be no locks."""


class SqliteConnection(sqlite3.Connection):
    """A connection that is closed as its process ends: the last one to close empties the log."""

    path: Path

    def close(self) -> None:
        """Close it. A connection that was closed does not count at a fork."""
        super().close()
        _open.discard(self)

    def __del__(self) -> None:
        """Close what nobody needs any more. From Python 3.13 on SQLite's own way warns of each."""
        with suppress(Exception):
            self.close()


_open: WeakSet[SqliteConnection] = WeakSet()
_inherited: list[SqliteConnection] = []
_crossed: frozenset[Path] = frozenset()
_idle: WeakSet[Any] = WeakSet()


def create(path: Path) -> None:
    """Make an empty file of mode 0600 unless there is a file. Raises OSError.

    A link is followed, so that what it leads to is made private as well.
    """
    resolved = path.resolve()
    try:
        # The new file is closed before anybody can have a lock on it.
        os.close(os.open(resolved, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not stat.S_ISREG(resolved.stat().st_mode):
            raise


def connect(path: Path, *, timeout: float) -> SqliteConnection:
    """Open a connection to a file that exists, in autocommit mode. Raises sqlite3.Error."""
    resolved = path.resolve()
    if resolved in _crossed:
        raise CrossedFork("the database was in use when this process was forked")
    # Without "c" in its mode SQLite creates nothing: it would do so with the mode of the umask.
    connection = sqlite3.connect(
        f"{resolved.as_uri()}?mode=rw",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
        factory=SqliteConnection,
    )
    connection.path = resolved
    _open.add(connection)
    return connection


class _Gate:
    """Lets many threads use databases at once, or one thread fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._users = 0
        self._mine = threading.local()

    @property
    def _own(self) -> int:
        return getattr(self._mine, "depth", 0)

    @contextmanager
    def passing(self) -> Iterator[None]:
        with self._changed:
            self._users += 1
        self._mine.depth = self._own + 1
        try:
            yield
        finally:
            self._mine.depth -= 1
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def shut(self, seconds: float = FORK_WAITS) -> bool:
        self._changed.acquire()
        return self._changed.wait_for(lambda: self._users == self._own, seconds)

    def open(self) -> None:
        self._changed.release()


_gate = _Gate()


@contextmanager
def in_use() -> Iterator[None]:
    """Hold off every fork of this process while the block uses connections."""
    with _gate.passing():
        yield


def close_before_fork(holder: Any) -> None:
    """Have ``holder.close_idle()`` called before each fork, as long as the holder lives."""
    _idle.add(holder)


def _before_fork() -> None:
    _gate.shut()
    for holder in list(_idle):
        holder.close_idle()


def _after_fork_in_parent() -> None:
    _gate.open()


def _after_fork_in_child() -> None:
    global _gate, _crossed  # noqa: PLW0603 - this process begins with its own
    _gate = _Gate()
    _inherited.extend(_open)  # collecting one would tidy up its parent's log
    _crossed = _crossed | {connection.path for connection in _open}
    _open.clear()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)


@atexit.register
def _close_all() -> None:
    """Close what is open, and let no thread begin with a database any more.

    A daemon thread may be in the middle of a statement as Python ends, and closing its connection under it
    crashes the process. It keeps its connection then: the system drops the locks, and SQLite finds the log.
    """
    if not _gate.shut(EXIT_WAITS):
        return
    for connection in list(_open):
        connection.close()
