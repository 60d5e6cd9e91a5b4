"""Giving steps out and leasing them.

A step goes READY → SENT (its message is on the way) → RUNNING (somebody holds its lease)
→ settled. Each SENT has a dispatch number of its own; each RUNNING a fence.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Double, and_, bindparam, distinct, exists, func, or_, select, update

from strongroom.state import codec, runs, sql, step_conditions, tables
from strongroom.state.errors import StateError
from strongroom.state.records import Claim, RunState, RunStep, StepKind, StepState, Ticket

_runs, _steps = tables.runs.c, tables.steps.c

MOST: Final = 2_000
"""Steps that are given out in one transaction; every step that ends gives out what is left."""


def take_ready(conn: Connection, run_id: str, *, window: int) -> list[Ticket]:
    """Mark what may go out as SENT; see :meth:`strongroom.state.store.RunStore.take_ready`."""
    run = runs.lock(conn, run_id)
    if run.state.final:
        return []
    due = _due(conn, run_id)
    room = max(0, window - _open_pieces(conn, run_id))
    captures = [step for step in due if step.kind is StepKind.CAPTURE][:room]
    going = [step for step in due if step.kind is not StepKind.CAPTURE] + captures
    return _send(conn, run_id, going)


def _due(conn: Connection, run: str) -> list[RunStep]:
    return [codec.step_of(row) for row in conn.execute(_DUE, {"at_run": run})]


_DUE: Final = (
    select(_steps.run, _steps.kind, _steps.piece, _steps.target)
    .where(_steps.run == bindparam("at_run"), tables.UNSETTLED, _steps.state == StepState.READY.value)
    .where(step_conditions.DUE)
    # Captures last: as long as there is no room for them they would keep all else from going out.
    .order_by(_steps.kind == StepKind.CAPTURE.value, _steps.piece, _steps.kind, _steps.target)
    .limit(MOST)
)


def _open_pieces(conn: Connection, run: str) -> int:
    """Count the pieces that lie on the stage, or are about to."""
    count: int = conn.execute(_OPEN_PIECES, {"at_run": run}).scalar_one()
    return count


_OPEN_PIECES: Final = (
    select(func.count(distinct(_steps.piece)))
    .where(_steps.run == bindparam("at_run"), tables.UNSETTLED)
    .where(
        or_(
            _steps.kind == StepKind.UPLOAD.value,
            and_(_steps.kind == StepKind.CAPTURE.value, _steps.state != StepState.READY.value),
        )
    )
)


def _send(conn: Connection, run: str, going: list[RunStep]) -> list[Ticket]:
    if not going:
        return []
    first = _next_dispatches(conn, len(going))
    tickets = [Ticket(run, step, first + offset) for offset, step in enumerate(going)]
    rows = [step_conditions.at(run, ticket.step) | {"new_dispatch": ticket.dispatch} for ticket in tickets]
    if conn.execute(_SEND, rows).rowcount != len(rows):
        raise step_conditions.unkept(run, going[0])
    return tickets


def _next_dispatches(conn: Connection, count: int) -> int:
    """Reserve ``count`` numbers; return the first.

    A counter row, not a sequence: it is given out in the order of commits, so a number is
    never seen before a smaller one is in its row.
    """
    last = conn.execute(_COUNT_ON, {"more": count}).scalar()
    if not isinstance(last, int):
        raise StateError("the state database holds an unreadable counter of what was sent", hint=codec.ODD)
    return last - count + 1


_COUNT_ON: Final = (
    update(tables.counters)
    .where(tables.counters.c.name == "dispatch")
    .values(value=tables.counters.c.value + bindparam("more"))
    .returning(tables.counters.c.value)
)

_SEND: Final = (
    update(tables.steps)
    .where(step_conditions.STEP)
    .values(
        state=StepState.SENT.value,
        dispatch=bindparam("new_dispatch"),
        sends=_steps.sends + 1,
        sent_at=sql.now(),
    )
)


def claim(conn: Connection, ticket: Ticket, *, owner: str, lease: float, starts: int) -> Claim | None:
    """Start a step; see :meth:`strongroom.state.store.RunStore.claim`."""
    given = {"at_dispatch": ticket.dispatch, "new_owner": owner, "lease": lease, "starts": starts}
    given |= step_conditions.at(ticket.run, ticket.step)
    row = conn.execute(_CLAIM, given).first()
    if row is None and conn.execute(_CLAIMABLE, given).first() is not None:
        raise step_conditions.unkept(ticket.run, ticket.step)
    return None if row is None else Claim(ticket=ticket, owner=owner, fence=row.fence, attempt=row.attempts)


# The run is active and, if it is closing, this is what closes it.
_WANTED: Final = exists(
    select(_runs.id)
    .where(_runs.id == _steps.run, _runs.state == RunState.ACTIVE.value)
    .where(or_(_runs.closing.is_(False), _steps.kind == StepKind.REPORT.value))
    .correlate(tables.steps)
)

_FREE: Final = or_(
    _steps.state == StepState.SENT.value,
    and_(_steps.state == StepState.RUNNING.value, step_conditions.LAPSED),
)

_FITS: Final = and_(
    step_conditions.STEP,
    _steps.dispatch == bindparam("at_dispatch"),
    _FREE,
    _WANTED,
    _steps.silent < bindparam("starts"),
)

_CLAIMABLE: Final = select(_steps.run).where(_FITS)

_CLAIM: Final = (
    update(tables.steps)
    .where(_FITS)
    .values(
        state=StepState.RUNNING.value,
        attempts=_steps.attempts + 1,
        silent=_steps.silent + 1,
        fence=_steps.fence + 1,
        sends=0,
        owner=bindparam("new_owner"),
        started_at=sql.now(),
        lease_expires=sql.now() + bindparam("lease", type_=Double),
    )
    .returning(_steps.fence, _steps.attempts)
)


def renew(conn: Connection, claim: Claim, *, lease: float) -> bool:
    """Extend a lease; see :meth:`strongroom.state.store.RunStore.renew`."""
    return conn.execute(_RENEW, step_conditions.held_by(claim) | {"lease": lease}).first() is not None


_RENEW: Final = (
    update(tables.steps)
    .where(step_conditions.HELD, _WANTED)
    .values(lease_expires=sql.now() + bindparam("lease", type_=Double))
    .returning(_steps.fence)
)
