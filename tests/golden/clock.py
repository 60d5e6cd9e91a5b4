"""A day and a machine that never change: the clock of this process, and of all that it forks, stands.

Before anything of the product is imported, :func:`stop` takes the place of the clock, for Python and for
SQLite, and of what differs between machines: the name, the room, the dumps, the right to lock memory.
"""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import sqlite3
import time
from datetime import datetime
from importlib import import_module
from pathlib import Path
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
    """Stop the clock, and have the machine be the same everywhere."""
    time.time = lambda: _now
    time.time_ns = lambda: int(_now * 1e9)
    dt.datetime = _Date  # type: ignore[misc]
    sqlite3.connect = _connect  # type: ignore[assignment]
    socket.gethostname = lambda: "host"
    shutil.disk_usage = lambda path: shutil._ntuple_diskusage(40 << 30, 16 << 30, 24 << 30)  # type: ignore[assignment]
    Path.read_text = _read_text  # type: ignore[assignment,method-assign]
    secrecy = import_module("strongroom.system.process")
    secrecy.may_lock = secrecy.lock = lambda: True


_read_file = Path.read_text
CORE_PATTERN = "/proc/sys/kernel/core_pattern"


def _read_text(path: Path, *words: Any, **options: Any) -> str:
    """Read a file; dumps go into files here."""
    return "core" if str(path) == CORE_PATTERN else _read_file(path, *words, **options)
