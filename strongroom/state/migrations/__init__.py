"""Brings a database to the schema of :mod:`strongroom.state.tables`.

A start costs one SELECT. Alembic is imported only when that finds another revision than
:data:`HEAD`, for its import is slow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, exc, text

from strongroom.errors import SchemaMismatch
from strongroom.state.sql import begin_writing

HEAD: Final = "0001"
"""The newest revision under ``versions/``; a test holds the two together."""

_LOCK: Final = 0x5374726F6E67  # any number of our own will do


def bring_up(engine: Engine) -> None:
    """Migrate to :data:`HEAD` if needed. Safe in any number of processes at once.

    Raises:
        SchemaMismatch: the database is at a revision this version does not know.
    """
    if revision(engine) != HEAD:
        with begin_writing(engine) as conn:
            _upgrade(conn)


def revision(engine: Engine) -> str | None:
    """Return the revision the database says it is at; ``None`` if it is empty."""
    try:
        with engine.connect() as conn:
            return conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except (exc.OperationalError, exc.ProgrammingError) as error:
        if _no_such_table(error):
            return None
        raise


def _no_such_table(error: exc.DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "42P01" or "no such table" in str(error.orig)


def _upgrade(conn: Connection) -> None:
    from alembic import command  # noqa: PLC0415  # a tenth of a second, seldom needed
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util.exc import CommandError  # noqa: PLC0415

    # SQLite's write lock is held already. The second process finds nothing left to do.
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = conn
    try:
        command.upgrade(config, HEAD)
    except CommandError:
        raise SchemaMismatch("the state database has a schema this version does not know") from None
