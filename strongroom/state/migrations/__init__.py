"""Brings a database to the schema of :mod:`strongroom.state.tables`.

A start costs one SELECT. An empty database gets the tables as they are; Alembic is imported only
for one that has an older revision than :data:`HEAD`, for its import is slow.
"""

from __future__ import annotations

import socket
from contextlib import suppress
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
    select,
    text,
)

from strongroom import __version__
from strongroom.state import codec, tables
from strongroom.state.catalog import append
from strongroom.state.errors import SchemaMismatch
from strongroom.state.sql import begin_writing, now

HEAD: Final = "0017"
"""The newest revision under ``versions/``; a test holds the two together."""

OLDEST: Final = "0013"
"""The oldest revision whose code can work with a database of :data:`HEAD`. Whoever adds a revision that older
code cannot work with (a column that it has to fill, a meaning that changed) sets this to it.

It stands in the database too, so code that is older than the database knows whether it may go on: that is
what lets two versions work beside each other while hosts are upgraded one by one."""

REFUSED: Final = "version.refused"
QUIET: Final = 3600.0
"""Seconds in which the same refusal is recorded once: a unit starts again and again what is refused."""

HEARD: Final = 60.0
"""Seconds in which a process has to be heard of to count as alive."""

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
        SchemaMismatch: the database is at a revision that this version cannot work with, or processes run
            that could not work with what it would make of it.
    """
    found = revision(engine)
    if found != HEAD and not is_understood(engine, found):
        try:
            with begin_writing(engine) as conn:
                _upgrade(conn)
        except SchemaMismatch as error:
            _put_on_record(engine, error, found)
            raise


def _put_on_record(engine: Engine, error: SchemaMismatch, found: str | None) -> None:
    """Record that a version was refused, unless what a newer one made does not take it."""
    said = {"host": socket.gethostname(), "version": __version__, "schema": found, "why": error.message}
    known = tables.events.c
    same = (known.kind == REFUSED) & (known.detail == codec.encode(said)) & (known.at > now() - QUIET)
    with suppress(exc.SQLAlchemyError), begin_writing(engine) as conn:
        if conn.execute(select(known.id).where(same).limit(1)).first() is None:
            append(conn, REFUSED, None, said)


def is_understood(engine: Engine, found: str | None) -> bool:
    """Tell whether a database is of this version's schema, or of a newer one that says of itself that this
    version can work with it. What was said of another schema says nothing of this one."""
    newer = found is not None and found.isdecimal() and len(found) == len(HEAD) and found > HEAD
    if not newer:
        return found == HEAD
    with engine.connect() as conn:
        said = select(tables.understood.c.oldest).where(tables.understood.c.schema == found)
        oldest = conn.execute(said).scalar()
    return oldest is not None and oldest.isdecimal() and oldest <= HEAD


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
        _require_nobody_left_behind(conn)
        migrate(conn)
        _say_who_understands(conn)
    else:
        # Make what all revisions together make; a test compares the two.
        tables.metadata.create_all(conn)
        conn.execute(tables.counters.insert().values(name="dispatch", value=0))
        _VERSION.create(conn)
        conn.execute(_VERSION.insert().values(version_num=HEAD))
        _say_who_understands(conn)


def _say_who_understands(conn: Connection) -> None:
    conn.execute(tables.understood.delete())
    conn.execute(tables.understood.insert().values(schema=HEAD, oldest=OLDEST))


def _require_nobody_left_behind(conn: Connection) -> None:
    """Refuse to migrate away from under processes that could not go on: what they have begun would end in
    errors. Whoever upgrades is told what to stop."""
    if not inspect(conn).has_table(tables.processes.name):
        return
    found = tables.processes.c
    alive = found.heard_at > now() - HEARD
    query = select(found.host, found.role, found.version).where(alive, found.schema < OLDEST)
    left = [f"{row.role} on {row.host} ({row.version})" for row in conn.execute(query.order_by(*found[:2]))]
    if left:
        raise SchemaMismatch(
            f"the state database was not migrated to schema {HEAD}, because processes run that could not go "
            f"on: {', '.join(left[:20])}",
            hint="Nothing was changed. Stop these; their runs are taken up again. Then start the new "
            "version: 'strongroom cluster hosts' shows who still runs.",
        )


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
        raise SchemaMismatch(
            "the state database has a schema that this version does not know",
            hint="A newer version made it, which this one cannot work beside. Upgrade this host: "
            "docs/how-to/upgrade.md.",
        ) from None
