"""What happened, one line each: appended and never changed. Also who was seen alive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from strongroom.state import codec, sql, tables
from strongroom.state.records import Event

_events = tables.events.c


def append(conn: Connection, kind: str, run: str | None, detail: Mapping[str, Any]) -> None:
    """Record an event at the database's time."""
    conn.execute(insert(tables.events).values(at=sql.now(), kind=kind, run=run, detail=codec.encode(detail)))


def recorded(conn: Connection, *, run: str | None, kind: str | None, after: int, limit: int) -> list[Event]:
    """Return events with an id above ``after``, oldest first; of one run or kind if given."""
    query = select(tables.events).where(_events.id > after).order_by(_events.id).limit(limit)
    if run is not None:
        query = query.where(_events.run == run)
    if kind is not None:
        query = query.where(_events.kind == kind)
    return [codec.event_of(row) for row in conn.execute(query)]


def beat(conn: Connection, name: str) -> None:
    """Note that ``name`` is alive now."""
    moment = conn.execute(select(sql.now())).scalar_one()
    sql.put(conn, tables.heartbeats, [{"name": name, "at": moment}])


def ages(conn: Connection) -> dict[str, float]:
    """Return how many seconds ago each name was last seen alive."""
    beats = tables.heartbeats.c
    return {
        row.name: row.age for row in conn.execute(select(beats.name, (sql.now() - beats.at).label("age")))
    }
