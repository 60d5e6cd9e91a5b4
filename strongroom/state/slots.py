"""Due times of policies: whoever inserts the row makes the run, everyone else does not."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from strongroom.state import sql, tables


def take(conn: Connection, policy: str, due_at: float, run: str) -> bool:
    """Claim a slot for a run; ``False`` if it was claimed before."""
    return sql.insert_one(conn, tables.slots, policy=policy, due_at=due_at, run=run)


def newest(conn: Connection, policy: str) -> float | None:
    """Return when the newest claimed slot of a policy was due."""
    query = select(func.max(tables.slots.c.due_at)).where(tables.slots.c.policy == policy)
    return conn.execute(query).scalar()
