"""Rows that stand by themselves: due times, pauses, leases, who was told what, how far logs were read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, delete, func, or_, select, update

from strongroom.model import prepare
from strongroom.state import catalog, codec, sql, tables
from strongroom.state.catalog import FUTURE
from strongroom.state.engine import Transactions
from strongroom.state.records import AccessMark, Pause, RotationState, SecretRotation, Slot
from strongroom.system.lazy import batched

# -- Due times of the calendar's entries: whoever inserts the row makes the run, everyone else does not


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


# -- Entries of the calendar that are paused, by somebody's word --------------------------------


prepare(Pause)


def pauses(conn: Connection) -> list[Pause]:
    """Return the pauses on record, those that have ended by themselves too."""
    query = select(tables.pauses).order_by(tables.pauses.c.entry)
    return list(
        codec.readable(conn.execute(query), lambda row: codec.record_of(row, Pause, f"pause of {row.entry}"))
    )


def put(conn: Connection, pause: Pause) -> None:
    """Record a pause, in place of one that the entry has, and that it was made."""
    sql.put(conn, tables.pauses, [codec.row_of(pause)])
    detail = {"entry": pause.entry, "reason": pause.reason, "by": pause.by, "until": pause.until}
    catalog.append(conn, "schedule.paused", None, detail)


def end(conn: Connection, entry: str, *, reason: str, by: str) -> bool:
    """Take a pause off the record; return whether there was one."""
    gone = conn.execute(delete(tables.pauses).where(tables.pauses.c.entry == entry)).rowcount
    if gone:
        catalog.append(conn, "schedule.resumed", None, {"entry": entry, "reason": reason, "by": by})
    return bool(gone)


class Calendar(Transactions):
    """Slots and pauses."""

    def newest_slot(self, name: str) -> float | None:
        """Return when the newest slot claimed under a name was due (epoch seconds)."""
        with self._database.reading() as conn:
            return newest(conn, name)

    def last_claimed(self, entry: str, *, others: Collection[str] = ()) -> Slot | None:
        """Return the newest claimed slot of an entry, or of one of its subjects but for these."""
        with self._database.reading() as conn:
            return last_claimed(conn, entry, others)

    def slot_of(self, run: str) -> str | None:
        """Return the name that a run's slot was claimed under; ``None`` for a run without one."""
        with self._database.reading() as conn:
            return of_run(conn, run)

    def clock(self) -> float:
        """Return the time by the database's clock, which slots go by (epoch seconds)."""
        return self._database.clock()

    def pauses(self) -> list[Pause]:
        """Return the pauses on record, those that have ended by themselves too."""
        with self._database.reading() as conn:
            return pauses(conn)

    def pause(self, pause: Pause) -> None:
        """Pause an entry, as an event too."""
        with self._database.writing() as conn:
            put(conn, pause)

    def resume(self, entry: str, *, reason: str, by: str) -> bool:
        """End a pause, as an event too; return whether there was one."""
        with self._database.writing() as conn:
            return end(conn, entry, reason=reason, by=by)


# -- Which of several processes does what only one needs to do. Nothing rests on it: two at once do no harm


_leases = tables.leases.c


def take_lease(conn: Connection, name: str, owner: str, seconds: float) -> str:
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


# -- What people were told of: one row an alert and audience, so that nobody is told the same again and
# again
#
# An audience is who is told together, by one look. Whoever tells others, or sees something else from another
# host, does not keep these from hearing of it, nor call over what these were told.


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


def put_told(conn: Connection, audience: str, rows: Sequence[NotifiedAlert]) -> None:
    """Record what an audience was told; a known alert takes what is new of it."""
    sql.put(conn, tables.alerts, [{"audience": audience, **codec.row_of(row)} for row in rows])


def forget(conn: Connection, audience: str, before: float) -> None:
    """Remove what has been over since before a time: else each backup that was ever bad would leave a row."""
    conn.execute(delete(tables.alerts).where(_alerts.audience == audience, _alerts.resolved_at < before))


# -- How far each access log was read -----------------------------------------------------------


prepare(AccessMark)
_marks = tables.access_marks.c
_AT_ONCE = 500


class AccessMarks(Transactions):
    """The marks of access logs, by the digest of a file's beginning."""

    def access_marks(self, log: str) -> list[AccessMark]:
        """Return how far each file of a log was read."""
        with self._database.reading() as conn:
            rows = conn.execute(select(tables.access_marks).where(_marks.log == log))
            return [codec.record_of(row, AccessMark, "mark in an access log") for row in rows]

    def put_access_marks(self, marks: Iterable[AccessMark]) -> None:
        """Record how far files were read."""
        with self._database.writing() as conn:
            sql.put(conn, tables.access_marks, [codec.row_of(mark) for mark in marks])

    def forget_access_marks(self, log: str, heads: Sequence[str]) -> None:
        """Forget files that are gone."""
        with self._database.writing() as conn:
            for some in batched(heads, _AT_ONCE):
                conn.execute(delete(tables.access_marks).where(_marks.log == log, _marks.head.in_(some)))


# -- The newest rotation of each secret: what a process that takes one over has to know ---------


prepare(SecretRotation)

EVENTS = {
    RotationState.BEGUN: "secret.rotating",
    RotationState.DONE: "secret.rotated",
    RotationState.FAILED: "secret.rotation-failed",
}


class SecretRotations(Transactions):
    """Rotations of secrets, by the keyed digest of a secret's source and name."""

    def secret_rotation(self, secret: str) -> SecretRotation | None:
        """Return the newest rotation of a secret; ``None`` if there was none."""
        query = select(tables.secret_rotations).where(tables.secret_rotations.c.secret == secret)
        with self._database.reading() as conn:
            row = conn.execute(query).one_or_none()
        return None if row is None else codec.record_of(row, SecretRotation, "rotation of a secret")

    def put_secret_rotation(self, rotation: SecretRotation) -> None:
        """Record how far the rotation of a secret is, in place of what was known of it, and as an event."""
        detail = {"secret": rotation.secret, "rotator": rotation.rotator, "incident": rotation.incident}
        with self._database.writing() as conn:
            row = {**codec.row_of(rotation), "state": rotation.state.value}
            sql.put(conn, tables.secret_rotations, [row])
            catalog.append(conn, EVENTS[rotation.state], rotation.run, detail)
