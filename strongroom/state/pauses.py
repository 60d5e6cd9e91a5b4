"""Entries of the calendar that are paused, by somebody's word."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from strongroom.model import prepare
from strongroom.state import codec, events, sql, tables
from strongroom.state.records import Pause

prepare(Pause)


def pauses(conn: Connection) -> list[Pause]:
    """Return the pauses on record, those that have ended by themselves too."""
    query = select(tables.pauses).order_by(tables.pauses.c.entry)
    return list(codec.readable(conn.execute(query), _pause))


def _pause(row: codec.AnyRow) -> Pause:
    return codec.record_of(row, Pause, f"pause of {row.entry}")


def put(conn: Connection, pause: Pause) -> None:
    """Record a pause, in place of one that the entry has, and that it was made."""
    sql.put(conn, tables.pauses, [codec.row_of(pause)])
    detail = {"entry": pause.entry, "reason": pause.reason, "by": pause.by, "until": pause.until}
    events.append(conn, "schedule.paused", None, detail)


def end(conn: Connection, entry: str, *, reason: str, by: str) -> bool:
    """Take a pause off the record; return whether there was one."""
    gone = conn.execute(delete(tables.pauses).where(tables.pauses.c.entry == entry)).rowcount
    if gone:
        events.append(conn, "schedule.resumed", None, {"entry": entry, "reason": reason, "by": by})
    return bool(gone)
