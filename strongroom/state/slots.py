"""Due times of policies: whoever inserts the row makes the run, everyone else does not."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, func, select

from strongroom.state import sql, tables

SKEW: Final = 300.0
"""Seconds by which the clock of whoever claimed a slot may have been ahead."""

_slots = tables.slots.c
_FUTURE: Final = _slots.due_at > sql.now() + SKEW


def take(conn: Connection, policy: str, due_at: float, run: str) -> bool:
    """Claim a slot for a run; ``False`` if it was claimed before.

    Slots in the future were claimed by a clock that was wrong. They are given back: else the policy would
    wait for that time, and miss the slot then.
    """
    conn.execute(delete(tables.slots).where(_slots.policy == policy, _FUTURE, _slots.due_at > due_at))
    return sql.insert_one(conn, tables.slots, policy=policy, due_at=due_at, run=run)


def newest(conn: Connection, policy: str) -> float | None:
    """Return when the newest claimed slot of a policy was due that is not in the future."""
    query = select(func.max(_slots.due_at)).where(_slots.policy == policy, ~_FUTURE)
    return conn.execute(query).scalar()
