"""The local store's SQLite database: connections, schema, and errors put into words.

Every value in it is sealed before SQLite sees it. Names are in the clear, so they stay out
of temporary files too, and what is deleted is overwritten.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

from strongroom.container.errors import UnsupportedVersion
from strongroom.errors import SourceError, StrongroomError
from strongroom.sources.errors import SourceUnavailable
from strongroom.system import files, sqlite_files
from strongroom.system.errors import TargetFull

SCHEMA = 1
BUSY_SECONDS = 10.0
_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cache_size = -16000",
    "PRAGMA wal_autocheckpoint = 8000",
)
_TABLES = (
    "CREATE TABLE about (key_check BLOB NOT NULL)",
    """CREATE TABLE secrets (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        head INTEGER NOT NULL,
        older INTEGER NOT NULL,
        size INTEGER NOT NULL,
        sealed BLOB NOT NULL)""",
    """CREATE TABLE history (
        id INTEGER NOT NULL,
        number INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (id, number)) WITHOUT ROWID""",
)


class StoreDatabase:
    """Gives each thread of each process its own connection, opened on use.

    Args:
        path: the database's file; its directory is made if need be.
        key_check: called once, for a new database: what to mark it with.
    """

    def __init__(self, path: Path, *, key_check: Callable[[], bytes]) -> None:
        self._path = path
        self._key_check = key_check
        self._local = threading.local()
        self._kept: list[sqlite3.Connection] = []
        sqlite_files.close_before_fork(self)

    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        connections: list[sqlite3.Connection] | None = getattr(self._local, "kept", None)
        if connections is not self._kept:  # the first use, or the first since a fork
            self._local.connection = self.connect()
            self._local.kept = self._kept
            self._kept.append(self._local.connection)
        return cast("sqlite3.Connection", self._local.connection)

    def close_idle(self) -> None:
        """Close every thread's connection before a fork; each opens another on its next use."""
        connections, self._kept = self._kept, []
        for connection in connections:
            if not connection.in_transaction:
                connection.close()

    def connect(self) -> sqlite3.Connection:
        """Return a further connection, which the caller closes."""
        with self.explained():
            if not self._path.exists():
                self._create()
            connection = self._raw()
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:  # its maker died, or is at it
            connection.close()
            self._create()
            return self.connect()
        if version != SCHEMA:
            connection.close()
            raise UnsupportedVersion(f"'{self._path}' has schema {version}, which this version does not know")
        return connection

    def is_made(self) -> bool:
        """Tell whether there is a database, and a whole one; asking makes none."""
        with self.explained():
            if not self._path.exists():
                return False
            with closing(self._raw()) as connection:
                return bool(connection.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Close this thread's connection."""
        if getattr(self._local, "kept", None) is self._kept:
            self._kept.remove(self._local.connection)
            self._local.connection.close()
            del self._local.kept

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one transaction: all of it is kept, durably, or nothing."""
        with sqlite_files.in_use():
            connection = self.connection()
            with self.explained():
                connection.execute("BEGIN IMMEDIATE")
            try:
                with self.explained():
                    yield connection
                    connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Let the statements of a block see one and the same state."""
        with sqlite_files.in_use(), self.explained():
            connection = self.connection()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")

    def empty_journal(self) -> None:
        """Write the journal back and cut it off, unless somebody is reading from it.

        It is not waited for: the next to write, or the last to close, does it then.
        """
        with sqlite_files.in_use(), self.explained():
            connection = self.connection()
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what SQLite and the operating system refuse into typed errors."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._typed(error) from None

    def _typed(self, error: sqlite3.Error | OSError) -> StrongroomError:
        # The primary result code is the low byte (sqlite.org/rescode.html).
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return SourceUnavailable(f"the local store '{self._path}' stayed locked", hint="Try again.")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return SourceError(
                f"the local store '{self._path}' is damaged",
                hint=f"Move it away ('{self._path}', and the same with -wal and -shm). Then restore into a "
                "new one: 'strongroom restore --from-target TARGET --full-restore'.",
            )
        if _is_full(error):
            return TargetFull(
                f"the local store '{self._path}' has no room left",
                hint="What was written before this is kept. Free space, then repeat.",
            )
        said = os.strerror(error.errno or 0) if isinstance(error, OSError) else error
        return SourceError(
            f"the local store '{self._path}' could not be used: {said}",
            hint="Check the owner and mode of that path, and its disk. To read it, it must be writable too.",
        )

    def _raw(self) -> sqlite3.Connection:
        # A listing may be dropped, and its connection closed, by another thread's garbage collector.
        connection = sqlite_files.connect(self._path, timeout=BUSY_SECONDS)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        return connection

    def _create(self) -> None:
        """Make the database, alone: SQLite does not wait when two switch to WAL at once."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.explained(), files.locked(self._path.with_suffix(".lock")):
            sqlite_files.create(self._path)
            connection = self._raw()
            try:
                if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                    self._set_up(connection)
            finally:
                connection.close()

    def _set_up(self, connection: sqlite3.Connection) -> None:
        check = self._key_check()
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        for table in _TABLES:
            connection.execute(table)
        connection.execute("INSERT INTO about VALUES (?)", (check,))
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute("COMMIT")


def _is_full(error: sqlite3.Error | OSError) -> bool:
    """Tell whether a disk had no room: where even a reader has no room for its index, SQLite says SHMSIZE."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE
