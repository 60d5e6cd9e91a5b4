"""Which of several processes does what only one needs to do. Nothing rests on it: two at once do no harm."""

from __future__ import annotations

from sqlalchemy import Connection, delete, or_, select, update

from strongroom.state import sql, tables
from strongroom.state.events import FUTURE

_leases = tables.leases.c


def take(conn: Connection, name: str, owner: str, seconds: float) -> str:
    """Take a lease, or keep it, if nobody else renewed it within so many seconds; return who has it now.

    A renewal in the future was dated by a clock that was wrong, and keeps nobody back.
    """
    now = sql.now()
    rests = or_(_leases.renewed_at < now - seconds, _leases.renewed_at > now + FUTURE)
    mine = update(tables.leases).where(_leases.name == name, or_(_leases.owner == owner, rests))
    if conn.execute(mine.values(owner=owner, renewed_at=now).returning(_leases.name)).first() is not None:
        return owner
    moment = conn.execute(select(now)).scalar_one()
    if sql.insert_one(conn, tables.leases, name=name, owner=owner, renewed_at=moment):
        return owner
    holder: str = conn.execute(select(_leases.owner).where(_leases.name == name)).scalar_one()
    return holder


def release(conn: Connection, name: str, owner: str) -> None:
    """Give a lease back, if it is the owner's."""
    conn.execute(delete(tables.leases).where(_leases.name == name, _leases.owner == owner))
