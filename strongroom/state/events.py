"""What happened, one line each: appended and never changed. Also who was seen alive.

Each event carries the digest of itself and of the digest before it, made in the transaction that
appends it. So a changed, added or removed one shows in every digest from there on; whoever can write
to the database could make them all anew, and then none is the one that was printed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, func, insert, or_, select, update

from strongroom.state import codec, sql, tables
from strongroom.state.records import ChainedEvent, Event

FUTURE: Final = 300.0
"""Seconds by which a heartbeat may be ahead: the clock may have been set back a little."""

_events = tables.events.c
_LOCK: Final = 0x6C6564676572  # any number of our own will do
_LAST: Final = select(_events.chain).order_by(_events.id.desc()).limit(1).scalar_subquery()
_NOW_AND_LAST: Final = select(sql.now().label("at"), _LAST.label("chain"))
_ONE_BY_ONE: Final = select(func.pg_advisory_xact_lock(_LOCK))


def append(conn: Connection, kind: str, run: str | None, detail: Mapping[str, Any]) -> None:
    """Record an event at the database's time. Appends go one after the other until they are committed."""
    if conn.dialect.name == "postgresql":  # SQLite's write lock is held already
        conn.execute(_ONE_BY_ONE)
    before = conn.execute(_NOW_AND_LAST).one()
    row = {"at": before.at, "kind": kind, "run": run, "detail": codec.encode(detail)}
    conn.execute(insert(tables.events).values(**row, chain=digest(before.chain or "", **row)))


def digest(before: str, *, at: float, kind: str, run: str | None, detail: str) -> str:
    """Return the SHA-256, in hex, that chains an event to the one before it.

    Args:
        before: the digest of that one; empty for the first.
        detail: as it is stored.
    """
    return hashlib.sha256(msgspec.json.encode([before, float(at), kind, run, detail])).hexdigest()


def links(conn: Connection, *, after: int, limit: int) -> list[ChainedEvent]:
    """Return events as they are chained, with an id above ``after``, in order."""
    query = select(tables.events).where(_events.id > after).order_by(_events.id).limit(limit)
    return [_link(row) for row in conn.execute(query)]


def newest_link(conn: Connection) -> ChainedEvent | None:
    """Return the newest event as it is chained; ``None`` if nothing has happened yet."""
    row = conn.execute(select(tables.events).order_by(_events.id.desc()).limit(1)).one_or_none()
    return None if row is None else _link(row)


def _link(row: Row[Any]) -> ChainedEvent:
    return ChainedEvent(id=row.id, at=row.at, kind=row.kind, run=row.run, detail=row.detail, chain=row.chain)


def recorded(conn: Connection, *, run: str | None, kind: str | None, after: int, limit: int) -> list[Event]:
    """Return events with an id above ``after``, oldest first; of one run or kind if given."""
    query = select(tables.events).where(_events.id > after).order_by(_events.id).limit(limit)
    if run is not None:
        query = query.where(_events.run == run)
    if kind is not None:
        query = query.where(_events.kind == kind)
    return list(codec.readable(conn.execute(query), codec.event_of))


def since(conn: Connection, moment: float, kinds: Sequence[str]) -> list[Event]:
    """Return the events of some kinds from a time on, oldest first."""
    query = select(tables.events).where(_events.at >= moment, _events.kind.in_(kinds)).order_by(_events.id)
    return list(codec.readable(conn.execute(query), codec.event_of))


def run_without(conn: Connection) -> str | None:
    """Return a run of which no event tells."""
    told = select(_events.id).where(_events.run == tables.runs.c.id).correlate(tables.runs)
    return conn.execute(select(tables.runs.c.id).where(~told.exists()).limit(1)).scalar()


def beat(conn: Connection, name: str) -> None:
    """Note that ``name`` is alive now."""
    moment = conn.execute(select(sql.now())).scalar_one()
    sql.put(conn, tables.heartbeats, [{"name": name, "at": moment}])


def take_turn(conn: Connection, name: str, every: float) -> bool:
    """Note that ``name`` is alive now if it was not for so long; tell whether that was so."""
    beats, now = tables.heartbeats.c, sql.now()
    ahead = beats.at > now + FUTURE
    # Left ahead by a clock that was wrong, the dead would never be missed: they are silent from now on.
    conn.execute(update(tables.heartbeats).where(beats.name != name, ahead).values(at=now))
    rests = or_(beats.at < now - every, ahead)
    returning_update = (
        update(tables.heartbeats).where(beats.name == name, rests).values(at=now).returning(beats.name)
    )
    if conn.execute(returning_update).first() is not None:
        return True
    moment = conn.execute(select(now)).scalar_one()
    return sql.insert_one(conn, tables.heartbeats, name=name, at=moment)


def ages(conn: Connection) -> dict[str, float]:
    """Return how many seconds ago each name was last seen alive.

    A time that is none, or lies in the future, says nothing: it must not make the dead look alive.
    """
    beats = tables.heartbeats.c
    now: float = conn.execute(select(sql.now())).scalar_one()
    seconds: dict[str, float] = {}
    for row in conn.execute(select(beats.name, beats.at)):
        with suppress(ValueError):
            if (age := now - codec.moment(row.at)) > -FUTURE:
                seconds[row.name] = max(0.0, age)
    return seconds
