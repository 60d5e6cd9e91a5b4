"""A day that never changes: the clock of this process, and of all that it forks, stands where it is put.

Before anything of the product is imported, :func:`stop` takes the clock's place: for Python, and for SQLite.
"""

from __future__ import annotations

import datetime as dt
import socket
import sqlite3
import time
from datetime import datetime
from typing import Any

_now = 0.0


def put_to(moment: float) -> None:
    """Have it be a moment, in seconds since the epoch, until it is another one."""
    global _now  # noqa: PLW0603 - the clock of this process
    _now = moment


class _Known(type):
    """Dates of the real class are dates, so that nobody notices."""

    def __instancecheck__(cls, found: object) -> bool:
        return isinstance(found, datetime)


class _Date(datetime, metaclass=_Known):
    """``datetime``, whose ``now`` is this process's."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        return datetime.fromtimestamp(_now, tz)


_open_database = sqlite3.connect


def _connect(*words: Any, **options: Any) -> sqlite3.Connection:
    """Open a database whose clock is this process's: the product asks for ``julianday('now')``."""
    connection: sqlite3.Connection = _open_database(*words, **options)
    connection.create_function("julianday", 1, lambda _: _now / 86_400 + 2_440_587.5)
    return connection


def stop() -> None:
    """Stop the clock, and give the machine a name that it has everywhere."""
    time.time = lambda: _now
    time.time_ns = lambda: int(_now * 1e9)
    dt.datetime = _Date  # type: ignore[misc]
    sqlite3.connect = _connect  # type: ignore[assignment]
    socket.gethostname = lambda: "host"
