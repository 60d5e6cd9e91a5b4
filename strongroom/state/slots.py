"""Due times of the calendar's entries: whoever inserts the row makes the run, everyone else does not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, delete, func, or_, select

from strongroom.state import sql, tables
from strongroom.state.records import Slot

SKEW: Final = 300.0
"""Seconds by which the clock of whoever claimed a slot may have been ahead."""

_slots = tables.slots.c
_FUTURE: Final = _slots.due_at > sql.now() + SKEW


def take(conn: Connection, name: str, due_at: float, run: str) -> bool:
    """Claim a slot for a run; ``False`` if it was claimed before.

    Slots in the future were claimed by a clock that was wrong. They are given back: else the entry would
    wait for that time, and miss the slot then.
    """
    conn.execute(delete(tables.slots).where(_slots.policy == name, _FUTURE, _slots.due_at > due_at))
    return sql.insert_one(conn, tables.slots, policy=name, due_at=due_at, run=run)


def newest(conn: Connection, name: str) -> float | None:
    """Return when the newest claimed slot under a name was due that is not in the future."""
    query = select(func.max(_slots.due_at)).where(_slots.policy == name, ~_FUTURE)
    return conn.execute(query).scalar()


def last_claimed(conn: Connection, entry: str, others: Collection[str]) -> Slot | None:
    """Return the newest claimed slot of an entry, or of one of the subjects that have slots of their own, but
    for those that are entries themselves."""
    own = or_(_slots.policy == entry, _slots.policy.startswith(f"{entry} ", autoescape=True))
    query = (
        select(tables.slots)
        .where(own, _slots.policy.not_in(others), ~_FUTURE)
        .order_by(_slots.due_at.desc())
        .limit(1)
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else Slot(name=row.policy, due_at=row.due_at, run=row.run)


def of_run(conn: Connection, run: str) -> str | None:
    """Return the name that the slot of a run was claimed under, if it has one."""
    query = select(_slots.policy).where(_slots.run == run).order_by(_slots.due_at).limit(1)
    return conn.execute(query).scalar()
