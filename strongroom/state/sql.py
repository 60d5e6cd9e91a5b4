"""The few places where SQLite and PostgreSQL spell things differently."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Double,
    Engine,
    Index,
    Table,
    TextClause,
    Update,
    and_,
    bindparam,
    or_,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.compiler import DDLCompiler, SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

WRITES: Final = "strongroom_writes"
"""The execution option that makes SQLite take its write lock when a transaction begins."""


SLICE: Final = 2_000
"""Rows that one transaction inserts, changes or removes at most where there may be very many. SQLite has one
write lock, and every worker waits for it: a run of 65,536 containers on three targets has 460,000 steps."""


@contextmanager
def begin_writing(engine: Engine) -> Iterator[Connection]:
    """Give a connection in a write transaction."""
    with engine.connect() as conn:
        conn.execution_options(**{WRITES: True})
        with conn.begin():
            yield conn


class now(FunctionElement[float]):  # noqa: N801  # reads as the SQL function it is
    """Seconds since the epoch by the database's clock, to about a millisecond.

    PostgreSQL's own ``now()`` is when the transaction began; after waiting for a lock,
    that is the past, and a lease taken then would start half spent.
    """

    name = "strongroom_now"
    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgresql_now(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


def before(at: Column[Any], name: Column[Any], mark: str) -> ColumnElement[bool]:
    """Return what holds of the rows that come after the row of that name, the newest first."""
    other = at.table.alias()
    moment = select(other.c[at.name]).where(other.c[name.name] == mark).scalar_subquery()
    return and_(at <= moment, or_(at < moment, name < mark))


def partial_index(name: str, *columns: Column[Any], where: TextClause) -> Index:
    """Return an index over the rows for which ``where`` holds.

    SQLAlchemy's ``postgresql_where`` would import all of that dialect, on SQLite too.
    """
    return Index(name, *columns, sqlite_where=where, info={"where": where})


@compiles(CreateIndex, "postgresql")
def _create_index(element: CreateIndex, compiler: DDLCompiler, **options: Any) -> str:
    index = element.element
    if "where" in index.info:
        index.dialect_options["postgresql"]["where"] = index.info["where"]
    return str(compiler.visit_create_index(element, **options))  # type: ignore[no-untyped-call]


def insert_new(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; those whose key exists stay as they are."""
    if rows:
        conn.execute(_insert(conn, table).on_conflict_do_nothing(), list(rows))


def insert_one(conn: Connection, table: Table, **values: Any) -> bool:
    """Insert a row unless its key exists; return whether it was inserted."""
    first, *_ = table.primary_key.columns
    statement = _insert(conn, table).values(**values).on_conflict_do_nothing().returning(first)
    return conn.execute(statement).first() is not None


def put(
    conn: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    keeps: Callable[[Any], Mapping[str, Any]] = lambda _: {},
) -> None:
    """Insert rows; those whose key exists take the new values.

    Args:
        keeps: given the new row's columns, returns what some columns of one that exists become instead.
    """
    if not rows:
        return
    statement = _insert(conn, table)
    keys = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    changed |= keeps(statement.excluded)
    conn.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), list(rows))


def change_some(
    conn: Connection,
    change: Update | Delete,
    *fits: ColumnElement[bool] | TextClause,
    most: int,
    order_by: Sequence[Column[Any]] = (),
) -> int:
    """Change or remove the rows that fit, so many at most; return how many fitted, or none if the database
    kept no change.

    They are found and locked first, and each is changed by its key. In one statement PostgreSQL would join
    them by how many it believes there are, and where it counted before very many came it compares each with
    each: to cancel a run of 65,536 steps took 332 s.
    """
    keys = list(change.table.primary_key)
    found = conn.execute(select(*keys).where(*fits).order_by(*order_by).limit(most).with_for_update()).all()
    if not found:
        return 0
    its = [key == bindparam(f"at_{key.name}") for key in keys]
    rows = [{f"at_{key.name}": value for key, value in zip(keys, row, strict=True)} for row in found]
    return len(found) if conn.execute(change.where(*its), rows).rowcount else 0


def _insert(conn: Connection, table: Table) -> Any:
    if conn.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    return sqlite.insert(table)
