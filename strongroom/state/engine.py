"""Connections to the state database: one engine a process, made after any fork.

SQLite runs in WAL with ``synchronous=FULL`` and takes the write lock when a write
transaction begins, so that nothing fails half-way for a lock; PostgreSQL runs READ
COMMITTED and locks the rows that a transaction is about. Nothing above this module sees a
SQLAlchemy exception.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url, select

from strongroom.errors import ConfigError, StateError
from strongroom.state import failures, filesystem, migrations
from strongroom.state.sql import WRITES, begin_writing, now

BUSY_SECONDS: Final = 30
"""How long a transaction waits for another's lock before it is StateUnavailable."""

_CONNECT_SECONDS: Final = 10


class Database:
    """Where the state lies. Nothing is opened before the first use.

    Args:
        url: ``sqlite:////path/to/state.db`` or ``postgresql://user@host/name``.

    Raises:
        ConfigError: the URL is of neither kind. It is not quoted: it may hold a password.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        # Keyed by process id. A parent's engine stays in a child's table unused: closing
        # an inherited SQLite file would drop the parent's locks, and closing an
        # inherited socket would end the parent's session.
        self._engines: dict[int, Engine] = {}
        # As the process ends, whatever the collector does then: the last to close empties SQLite's journal.
        weakref.finalize(self, _close, self._engines)

    @property
    def engine(self) -> Engine:
        """This process's engine, on a schema known to be current."""
        engine = self._engines.get(os.getpid())
        return engine if engine is not None else self._open()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database and changes nothing."""
        with failures.translated(), self.engine.connect() as conn:
            yield conn

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a write transaction: committed at the end, or rolled back."""
        with failures.translated(), begin_writing(self.engine) as conn:
            yield conn

    def examine(self) -> None:
        """Read all of a SQLite file, so that a damaged page shows before somebody needs it."""
        with self.reading() as conn:
            if conn.dialect.name != "sqlite":
                return
            found = conn.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise StateError("the state database cannot be used: the file is damaged", hint=failures.DAMAGED)

    @property
    def file(self) -> Path | None:
        """The file of a SQLite database."""
        return Path(str(self._url.database)) if self._url.drivername == "sqlite" else None

    def revision(self) -> str | None:
        """Return which schema the database has, migrating nothing; ``None`` if it has none yet."""
        ours = _create(self._url)
        try:
            with failures.translated():
                return migrations.revision(ours)
        finally:
            ours.dispose()

    def clock(self) -> float:
        """Return the time by the database's clock (seconds since the epoch)."""
        with self.reading() as conn:
            return float(conn.execute(select(now())).scalar_one())

    def close(self) -> None:
        """Close this process's connections; the next use opens new ones."""
        _close(self._engines)

    def _open(self) -> Engine:
        ours = _create(self._url)
        try:
            with failures.translated():
                migrations.bring_up(ours)
        except BaseException:
            ours.dispose()
            raise
        # Two threads may both get here; a lock instead could be inherited locked.
        kept = self._engines.setdefault(os.getpid(), ours)
        if kept is not ours:
            ours.dispose()
        return kept


def _close(engines: dict[int, Engine]) -> None:
    engine = engines.pop(os.getpid(), None)
    if engine is not None:
        engine.dispose()


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except exc.ArgumentError:
        raise ConfigError("state.url is not a database URL", hint=_URL_HINT) from None
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite") or url.database in (None, "", ":memory:"):
        raise ConfigError("state.url names neither a SQLite file nor a PostgreSQL database", hint=_URL_HINT)
    return url.set(drivername="sqlite", database=str(Path(str(url.database)).absolute()))


_URL_HINT: Final = "Give sqlite:////absolute/path.db or postgresql://user@host/database."


def _create(url: URL) -> Engine:
    return _create_sqlite(url) if url.drivername == "sqlite" else _create_postgresql(url)


def _create_postgresql(url: URL) -> Engine:
    limits = f"-c lock_timeout={BUSY_SECONDS}s -c idle_in_transaction_session_timeout={2 * BUSY_SECONDS}s"
    given = {"connect_timeout": _CONNECT_SECONDS, "options": limits, "application_name": "strongroom"}
    return create_engine(
        url,
        isolation_level="READ COMMITTED",
        connect_args={key: value for key, value in given.items() if key not in url.query},
        pool_pre_ping=True,
        max_overflow=20,
        hide_parameters=True,
    )


def _create_sqlite(url: URL) -> Engine:
    filesystem.prepare(Path(str(url.database)))
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, max_overflow=20, hide_parameters=True)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _set_pragmas(connection: Any, _record: object) -> None:
    # The driver would otherwise begin transactions by its own rules, and deferred.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(conn: Connection) -> None:
    writes = conn.get_execution_options().get(WRITES, False)
    # A deferred transaction that turns into a writing one can fail at once, whatever the
    # busy timeout, when another has written in between (SQLITE_BUSY_SNAPSHOT).
    conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
