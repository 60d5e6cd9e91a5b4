"""Connections to the state database: one engine a process, made after any fork.

SQLite runs in WAL with ``synchronous=FULL`` and takes the write lock when a write
transaction begins, so that nothing fails half-way for a lock; PostgreSQL runs READ
COMMITTED and locks the rows that a transaction is about. Nothing above this module sees a
SQLAlchemy exception.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url, select

from strongroom.errors import ConfigError
from strongroom.state import filesystem, migrations
from strongroom.state.errors import SchemaMismatch, StateError, StateFull, StateUnavailable
from strongroom.state.migrations import HEAD
from strongroom.state.sql import WRITES, begin_writing, now
from strongroom.system import files
from strongroom.system.files import CrossedFork

# -- What database drivers raise, as errors a person can act on ---------------------------------


_BUSY: Final = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"})

_FULL: Final = frozenset({"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"})
"""The second: no room for the index of the write-ahead log, which whoever only reads needs too."""

# Classes of SQLSTATE after which the same transaction can succeed (PostgreSQL, appendix
# A): connection, resources, operator intervention, serialisation and deadlock, lock timeout.
_PASSING: Final = ("08", "53", "57", "40", "55P03", "25P03")


@contextmanager
def translated() -> Iterator[None]:
    """Turn every SQLAlchemy error into a StateError; transient ones are StateUnavailable.

    Statements and parameters are left out: they quote rows.
    """
    try:
        yield
    except exc.DBAPIError as error:
        raise _translate(error) from None
    except exc.TimeoutError:
        raise StateUnavailable("every connection to the state database is in use") from None
    except exc.SQLAlchemyError as error:
        raise StateError(f"the state database refused ({type(error).__name__})") from None


def _translate(error: exc.DBAPIError) -> StateError:
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return _from_sqlite(cause)
    state = getattr(error.orig, "sqlstate", None)
    if state is None and isinstance(error, exc.OperationalError | exc.InterfaceError):
        from strongroom.state.postgresql import unavailable

        return unavailable(str(error.orig))
    if state == _DENIED:
        return StateError("the state database grants this login too little", hint=_GRANT)
    if error.connection_invalidated or (state or "").startswith(_PASSING):
        return StateUnavailable(f"the state database broke off (SQLSTATE {state or 'unknown'})")
    return StateError(f"the state database refused (SQLSTATE {state or 'unknown'})")


_DENIED: Final = "42501"
_GRANT: Final = (
    "'strongroom cluster rules postgres' prints what each role needs; run it as the owner of the database. A "
    "new version may have to change the tables first: as the owner, run one command, such as 'strongroom "
    "runs'."
)


def _from_sqlite(cause: sqlite3.Error) -> StateError:
    if isinstance(cause, CrossedFork):
        return StateError(f"the state database cannot be used here: {cause}", hint=_AGAIN)
    # A cursor on a damaged file raises before SQLite names a code.
    name = getattr(cause, "sqlite_errorname", type(cause).__name__)
    if any(name.startswith(busy) for busy in _BUSY):
        return StateUnavailable("the state database stayed locked by another process")
    if name in _FULL:
        return StateFull("the state database could not be written: the disk is full")
    # Say what a code of SQLite means. An extended one, such as SQLITE_READONLY_DIRECTORY, is of a kind.
    what, hint = next(
        (words for code, words in _SQLITE.items() if name == code or name.startswith(f"{code}_")),
        (name, None),
    )
    return StateError(f"the state database cannot be used: {what}", hint=hint)


DAMAGED: Final = (
    "No backup on a target is affected. Stop what runs, move 'state.db', 'state.db-wal' and 'state.db-shm' "
    "out of the state directory, and enter each target's backups again: "
    "'strongroom backups rebuild --from TARGET'."
)
_AGAIN: Final = "Nothing was changed, and no backup is affected. Repeat it in a new process."
_CLOSED: Final = "No backup on a target is affected. Check owner, mode and mount of the state directory."

_FAILING: Final = (
    "No backup on a target is affected. Look into the system's log: the disk may be failing. Where the file "
    "is lost, 'strongroom backups rebuild --from TARGET' enters each target's backups again."
)

_SQLITE: Final = {
    "SQLITE_READONLY_DIRECTORY": ("its folder is read-only", _CLOSED),
    "SQLITE_CANTOPEN": ("the file cannot be opened", _CLOSED),
    "SQLITE_READONLY": ("the file is read-only", _CLOSED),
    "SQLITE_NOTADB": ("the file is not a SQLite database", DAMAGED),
    "SQLITE_CORRUPT": ("the file is damaged", DAMAGED),
    "SQLITE_IOERR": ("the disk failed to read or write it", _FAILING),
}


# -- Connections to the state database: one engine a process, made after any fork ---------------
#
# SQLite runs in WAL with ``synchronous=FULL`` and takes the write lock when a write
# transaction begins, so that nothing fails half-way for a lock; PostgreSQL runs READ
# COMMITTED and locks the rows that a transaction is about. Nothing above this module sees a
# SQLAlchemy exception.


BUSY_SECONDS: Final = 30
"""How long a transaction waits for another's lock before it is StateUnavailable."""

_AGAIN_AFTER: Final = 0.01


class _Turns:
    """Keeps a process that writes again and again, as a tick or a reconcile does, from being the only one
    that ever gets SQLite's one lock: others waited for seconds beside it."""

    MOST: Final = 0.1
    """Seconds that one process writes, transaction after transaction, before it lets others in."""
    APART: Final = 0.005
    """Transactions with more seconds in between let others in by themselves."""
    PAUSE: Final = 0.02
    """More than any that waits lets pass before it asks again."""

    def __init__(self) -> None:
        self._since = self._ended = 0.0

    def take(self) -> None:
        """Return when it is this process's turn: at once, unless it had many in a row."""
        now = time.monotonic()
        if now - self._ended > self.APART:
            self._since = now
        elif now - self._since > self.MOST:
            time.sleep(self.PAUSE)
            self._since = time.monotonic()

    def end(self) -> None:
        """Note that a transaction of this process ended."""
        self._ended = time.monotonic()


class _Connections:
    """This process's one engine for an address, however often it is asked for."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.turns = _Turns() if url.drivername == "sqlite" else None
        self._renew()
        files.close_before_fork(self)
        _everywhere.add(self)

    def _renew(self) -> None:
        self._lock = threading.RLock()
        self._engine: Engine | None = None
        self._opened: tuple[int, int] | None = None
        self._closer: weakref.finalize[..., Any] | None = None
        self._current = False

    def engine(self) -> Engine:
        """Return the engine, on whatever schema the database has."""
        with self._lock:
            if self._engine is not None and _identity(self.url) != self._opened:
                self.close()  # another file was put in its place: what is written to this one is lost
                self._engine = None
            if self._engine is None:
                self._engine = _create(self.url)
                self._opened = _identity(self.url)
                self._closer = weakref.finalize(self, self._engine.dispose)
            return self._engine

    def current(self) -> Engine:
        """Return the engine, on a schema known to be current."""
        with self._lock:
            engine = self.engine()
            if not self._current:
                migrations.bring_up(engine)
                self._current = True
            return engine

    def close(self) -> None:
        """Close what is not in use; the next use looks at the schema again."""
        with self._lock:
            self._current = False
            if self._engine is not None:
                self._engine.dispose()

    def close_idle(self) -> None:
        """Close SQLite's connections before a fork. A child leaves PostgreSQL's sockets alone."""
        if self._engine is not None and self.url.drivername == "sqlite":
            self._engine.dispose()

    def forked(self) -> None:
        """Begin anew in a child. What is inherited is kept unused, or it would end the parent's session."""
        if self._closer is not None:
            self._closer.detach()
            _inherited.append(self._engine)
        self._renew()


def _identity(url: URL) -> tuple[int, int] | None:
    """Return which file a SQLite database is now."""
    if url.drivername != "sqlite":
        return None
    with suppress(OSError):
        status = Path(str(url.database)).stat()
        return status.st_dev, status.st_ino
    return None


_shared: WeakValueDictionary[URL, _Connections] = WeakValueDictionary()
_everywhere: weakref.WeakSet[_Connections] = weakref.WeakSet()
_inherited: list[Engine | None] = []


def _renew_all() -> None:
    for connections in list(_everywhere):
        connections.forked()


os.register_at_fork(after_in_child=_renew_all)


class StateDatabase:
    """Where the state lies. Nothing is opened before the first use.

    All that name one address in a process share its connections.

    Args:
        url: ``sqlite:////path/to/state.db`` or ``postgresql://user@host/name``.

    Raises:
        ConfigError: the URL is of neither kind. It is not quoted: it may hold a password.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self._connections = _shared.setdefault(self._url, _Connections(self._url))

    @property
    def engine(self) -> Engine:
        """This process's engine, on a schema known to be current."""
        return self._connections.current()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database and changes nothing."""
        with files.in_use(), translated(), self.engine.connect() as conn:
            yield conn

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a write transaction: committed at the end, or rolled back."""
        if (turns := self._connections.turns) is not None:
            turns.take()
        try:
            with files.in_use(), translated(), begin_writing(self.engine) as conn:
                yield conn
        finally:
            if turns is not None:
                turns.end()

    def examine(self) -> None:
        """Read all of a SQLite file, so that a damaged page shows before somebody needs it."""
        with self.reading() as conn:
            if conn.dialect.name != "sqlite":
                return
            verdict = conn.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if verdict != "ok":
            raise StateError("the state database cannot be used: the file is damaged", hint=DAMAGED)

    @property
    def file(self) -> Path | None:
        """The file of a SQLite database."""
        return Path(str(self._url.database)) if self._url.drivername == "sqlite" else None

    def revision(self) -> str | None:
        """Return which schema the database has, making and migrating nothing; ``None`` if it has none yet."""
        if self.file is not None and not self.file.exists():
            return None
        with files.in_use(), translated():
            return migrations.revision(self._connections.engine())

    def is_understood(self, revision: str | None) -> bool:
        """Tell whether this version can work with a database of a schema as it is."""
        with files.in_use(), translated():
            return migrations.is_understood(self._connections.engine(), revision)

    def clock(self) -> float:
        """Return the time by the database's clock (seconds since the epoch)."""
        with self.reading() as conn:
            return float(conn.execute(select(now())).scalar_one())

    def close(self) -> None:
        """Close this process's connections to the address; the next use opens new ones."""
        with files.in_use():
            self._connections.close()


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
    if url.drivername == "sqlite":
        return _create_sqlite(url)
    from strongroom.state.postgresql import create

    return create(url, busy_seconds=BUSY_SECONDS)


def _create_sqlite(url: URL) -> Engine:
    path = Path(str(url.database))
    filesystem.prepare(path)
    engine = create_engine(
        url,
        creator=lambda: files.connect(path, timeout=BUSY_SECONDS),
        max_overflow=20,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _set_pragmas(connection: Any, _record: object) -> None:
    _begin_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_wal(connection: Any) -> None:
    """Have a database write ahead. Of several processes that begin with one at once, all but one wait.

    That change needs the file for itself, and SQLite does not wait for it by the busy timeout: two that
    have read the file would wait for each other.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_AFTER)
        else:
            return


def _begin(conn: Connection) -> None:
    if not conn.get_execution_options().get(WRITES, False):
        conn.exec_driver_sql("BEGIN")
        return
    # A deferred transaction that turns into a writing one can fail at once, whatever the
    # busy timeout, when another has written in between (SQLITE_BUSY_SNAPSHOT).
    #
    # SQLite lets those that wait ask again ever more seldom, at last every 0.1 s, and the lock goes to
    # whoever asks just when it is free. So it begins anew with its short pauses, and finds those of
    # :class:`_Turns`.
    driver, deadline = conn.connection.driver_connection, time.monotonic() + BUSY_SECONDS
    assert isinstance(driver, sqlite3.Connection)
    driver.execute(f"PRAGMA busy_timeout={_ASKS_MS}")
    try:
        while True:
            try:
                conn.exec_driver_sql("BEGIN IMMEDIATE")
            except exc.OperationalError as error:
                if not _is_locked(error) or time.monotonic() > deadline:
                    raise
            else:
                return
    finally:
        driver.execute(f"PRAGMA busy_timeout={round(BUSY_SECONDS * 1000)}")


_ASKS_MS: Final = 10
"""Within this time SQLite asks for a lock after 1, 2, 5 and 2 more milliseconds."""


def _is_locked(error: exc.OperationalError) -> bool:
    cause = error.orig
    return isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


class Transactions:
    """A database whose methods are one transaction or one read each; none is held across other I/O."""

    def __init__(self, url: str) -> None:
        self._database = StateDatabase(url)


# -- Whether there is a state database to look into: nothing is made or migrated for a look -----


_NOT_YET = (
    "Check the state directory ('strongroom check config' shows it). On a new machine nothing was backed up "
    "yet. If it was lost: 'strongroom backups rebuild --from TARGET' enters each target's backups again."
)
_OLDER = "Stop what still runs in the old version; then 'strongroom runs' migrates it."


def require(database: StateDatabase) -> None:
    """Return if there is a database of the very schema that this version has.

    Raises:
        StateError: there is none, or it cannot be used.
        SchemaMismatch: its schema is older or unknown.
    """
    if (file := database.file) is not None and not (file.is_file() and file.stat().st_size):
        raise StateError(f"there is no state database at {file}", hint=_NOT_YET)
    revision = database.revision()
    if revision is None:
        raise StateError("the state database is empty: nothing was ever put on record", hint=_NOT_YET)
    if not database.is_understood(revision):
        raise _mismatch(revision)


def _mismatch(revision: str) -> SchemaMismatch:
    if revision.isdecimal() and revision < HEAD:
        return SchemaMismatch(
            f"the state database has schema {revision}, and this version has {HEAD}; a look migrates nothing",
            hint=_OLDER,
        )
    return SchemaMismatch("the state database has a schema that this version does not know")
