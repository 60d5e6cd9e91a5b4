"""What database drivers raise, as errors a person can act on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import exc

from strongroom.state.errors import StateError, StateFull, StateUnavailable
from strongroom.system.sqlite_files import CrossedFork

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
    return _from_postgresql(error)


def _from_sqlite(cause: sqlite3.Error) -> StateError:
    if isinstance(cause, CrossedFork):
        return StateError(f"the state database cannot be used here: {cause}", hint=_AGAIN)
    # A cursor on a damaged file raises before SQLite names a code.
    name = getattr(cause, "sqlite_errorname", type(cause).__name__)
    if any(name.startswith(busy) for busy in _BUSY):
        return StateUnavailable("the state database stayed locked by another process")
    if name in _FULL:
        return StateFull("the state database could not be written: the disk is full")
    what, hint = _explained(name)
    return StateError(f"the state database cannot be used: {what}", hint=hint)


def _explained(name: str) -> tuple[str, str | None]:
    """Say what a code of SQLite means. An extended one, such as SQLITE_READONLY_DIRECTORY, is of a kind."""
    return next(
        (words for code, words in _SQLITE.items() if name == code or name.startswith(f"{code}_")),
        (name, None),
    )


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


def _from_postgresql(error: exc.DBAPIError) -> StateError:
    state = getattr(error.orig, "sqlstate", None)
    if state is None and isinstance(error, exc.OperationalError | exc.InterfaceError):
        return StateUnavailable("the state database did not answer")
    if error.connection_invalidated or (state or "").startswith(_PASSING):
        return StateUnavailable(f"the state database broke off (SQLSTATE {state or 'unknown'})")
    return StateError(f"the state database refused (SQLSTATE {state or 'unknown'})")
