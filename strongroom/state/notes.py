"""What people were told of: one row an alert and audience, so that nobody is told the same again and again.

An audience is who is told together, by one look. Whoever tells others, or sees something else from another
host, does not keep these from hearing of it, nor call over what these were told.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import Connection, delete, select

from strongroom.model import prepare
from strongroom.state import codec, sql, tables

_alerts = tables.alerts.c


class NotifiedAlert(Struct, frozen=True, kw_only=True):
    """An alert as its audience last knew it. ``weight`` is how bad it was within its severity.

    Times are seconds since the epoch by the clock of the host that checked. ``sent_at`` stays ``None`` until
    somebody is notified. ``resolved_at`` is when it was found to be over.
    """

    key: str
    severity: str
    weight: int
    what: str
    first_seen: float
    sent_at: float | None
    resolved_at: float | None = None


prepare(NotifiedAlert)


def alerts_told(conn: Connection, audience: str) -> list[NotifiedAlert]:
    """Return what an audience was told of, by key."""
    query = select(tables.alerts).where(_alerts.audience == audience).order_by(_alerts.key)
    return list(codec.readable(conn.execute(query), _told))


def told_of(conn: Connection, key: str) -> list[NotifiedAlert]:
    """Return what is on record of an alert that is not over, for each audience."""
    query = select(tables.alerts).where(_alerts.key == key, _alerts.resolved_at.is_(None))
    return list(codec.readable(conn.execute(query), _told))


def _told(row: codec.AnyRow) -> NotifiedAlert:
    return codec.record_of(row, NotifiedAlert, f"alert {row.key}")


def put(conn: Connection, audience: str, rows: Sequence[NotifiedAlert]) -> None:
    """Record what an audience was told; a known alert takes what is new of it."""
    sql.put(conn, tables.alerts, [{"audience": audience, **codec.row_of(row)} for row in rows])


def forget(conn: Connection, audience: str, before: float) -> None:
    """Remove what has been over since before a time: else each backup that was ever bad would leave a row."""
    conn.execute(delete(tables.alerts).where(_alerts.audience == audience, _alerts.resolved_at < before))
