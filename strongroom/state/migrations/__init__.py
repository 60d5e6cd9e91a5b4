"""Brings a database to the schema of :mod:`strongroom.state.tables`.

A start costs one SELECT. An empty database gets the tables as they are; Alembic is imported only
for one that has an older revision than :data:`HEAD`, for its import is slow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    exc,
    inspect,
    text,
)

from strongroom.state import tables
from strongroom.state.errors import SchemaMismatch
from strongroom.state.sql import begin_writing

HEAD: Final = "0012"
"""The newest revision under ``versions/``; a test holds the two together."""

_VERSION: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""As Alembic makes it."""

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
        if getattr(error.orig, "sqlstate", None) == "42P01" or "no such table" in str(error.orig):
            return None
        raise


def _upgrade(conn: Connection) -> None:
    # SQLite's write lock is held already. The second process finds nothing left to do.
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if inspect(conn).has_table(_VERSION.name):
        migrate(conn)
    else:
        # Make what all revisions together make; a test compares the two.
        tables.metadata.create_all(conn)
        conn.execute(tables.counters.insert().values(name="dispatch", value=0))
        _VERSION.create(conn)
        conn.execute(_VERSION.insert().values(version_num=HEAD))


def migrate(conn: Connection) -> None:
    """Run the revisions that the database has not got yet.

    Raises:
        SchemaMismatch: the database is at a revision this version does not know.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = conn
    try:
        command.upgrade(config, HEAD)
    except CommandError:
        raise SchemaMismatch("the state database has a schema this version does not know") from None
