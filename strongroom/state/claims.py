"""Giving steps out and leasing them.

A step goes READY → SENT (its message is on the way) → RUNNING (somebody holds its lease)
→ settled. Each SENT has a dispatch number of its own; each RUNNING a fence.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, distinct, exists, func, or_, select, update

from strongroom.state import codec, runs, sql, tables
from strongroom.state.records import Claim, RunState, Step, StepKind, StepState, Ticket

_runs, _steps = tables.runs.c, tables.steps.c

_IN_FLIGHT: Final = (StepState.SENT.value, StepState.RUNNING.value)
_ACTIVE: Final = RunState.ACTIVE.value
_REPORT: Final = StepKind.REPORT.value


def take_ready(conn: Connection, run_id: str, *, window: int) -> list[Ticket]:
    """Mark what may go out as SENT; see :meth:`strongroom.state.store.RunStore.take_ready`."""
    run = runs.lock(conn, run_id)
    if run.state.final:
        return []
    due = _due(conn, run_id)
    room = max(0, window - _open_pieces(conn, run_id))
    captures = [step for step in due if step.kind is StepKind.CAPTURE][:room]
    going = [step for step in due if step.kind is not StepKind.CAPTURE] + captures
    if run.closing:
        going = [step for step in going if step.kind is StepKind.REPORT]
    return _send(conn, run_id, going)


def _due(conn: Connection, run: str) -> list[Step]:
    query = (
        select(_steps.run, _steps.kind, _steps.piece, _steps.target)
        .where(_steps.run == run, tables.UNSETTLED, _steps.state == StepState.READY.value)
        .where(_steps.not_before <= sql.now())
        .order_by(_steps.piece, _steps.kind, _steps.target)
    )
    return [codec.step_of(row) for row in conn.execute(query)]


def _open_pieces(conn: Connection, run: str) -> int:
    """Count the pieces that lie on the stage, or are about to."""
    capture, upload = StepKind.CAPTURE.value, StepKind.UPLOAD.value
    is_open = or_(_steps.kind == upload, and_(_steps.kind == capture, _steps.state.in_(_IN_FLIGHT)))
    query = select(func.count(distinct(_steps.piece))).where(_steps.run == run, tables.UNSETTLED, is_open)
    count: int = conn.execute(query).scalar_one()
    return count


def _send(conn: Connection, run: str, going: list[Step]) -> list[Ticket]:
    if not going:
        return []
    first = _next_dispatches(conn, len(going))
    tickets = [Ticket(run, step, first + offset) for offset, step in enumerate(going)]
    conn.execute(_SEND, [_sent(ticket) for ticket in tickets])
    return tickets


def _next_dispatches(conn: Connection, count: int) -> int:
    """Reserve ``count`` numbers; return the first.

    A counter row, not a sequence: it is given out in the order of commits, so a number is
    never seen before a smaller one is in its row.
    """
    counter = tables.counters.c
    statement = (
        update(tables.counters)
        .where(counter.name == "dispatch")
        .values(value=counter.value + count)
        .returning(counter.value)
    )
    last: int = conn.execute(statement).scalar_one()
    return last - count + 1


_SEND: Final = (
    update(tables.steps)
    .where(
        _steps.run == bindparam("of_run"),
        _steps.kind == bindparam("of_kind"),
        _steps.piece == bindparam("of_piece"),
        _steps.target == bindparam("of_target"),
    )
    .values(
        state=StepState.SENT.value,
        dispatch=bindparam("new_dispatch"),
        sends=_steps.sends + 1,
        sent_at=sql.now(),
    )
)


def _sent(ticket: Ticket) -> dict[str, Any]:
    step = ticket.step
    return {
        "of_run": ticket.run,
        "of_kind": step.kind.value,
        "of_piece": step.piece,
        "of_target": step.target,
        "new_dispatch": ticket.dispatch,
    }


def claim(conn: Connection, ticket: Ticket, *, owner: str, lease: float, starts: int) -> Claim | None:
    """Start a step; see :meth:`strongroom.state.store.RunStore.claim`."""
    expired = and_(_steps.state == StepState.RUNNING.value, _steps.lease_expires < sql.now())
    statement = (
        update(tables.steps)
        .where(runs.step_key(ticket.run, ticket.step), _steps.dispatch == ticket.dispatch)
        .where(or_(_steps.state == StepState.SENT.value, expired), _steps.silent < starts)
        .where(_may_run(ticket))
        .values(
            state=StepState.RUNNING.value,
            attempts=_steps.attempts + 1,
            silent=_steps.silent + 1,
            fence=_steps.fence + 1,
            sends=0,
            owner=owner,
            started_at=sql.now(),
            lease_expires=sql.now() + lease,
        )
        .returning(_steps.fence, _steps.attempts)
    )
    row = conn.execute(statement).first()
    return None if row is None else Claim(ticket=ticket, owner=owner, fence=row.fence, attempt=row.attempts)


def _may_run(ticket: Ticket) -> ColumnElement[bool]:
    """The run is active and, if it is closing, this is what closes it."""
    condition = and_(_runs.id == ticket.run, _runs.state == _ACTIVE)
    if ticket.step.kind is not StepKind.REPORT:
        condition = and_(condition, _runs.closing.is_(False))
    return exists(select(_runs.id).where(condition))


def renew(conn: Connection, held: Claim, *, lease: float) -> bool:
    """Extend a lease; see :meth:`strongroom.state.store.RunStore.renew`."""
    statement = (
        update(tables.steps)
        .where(holding(held), _may_run(held.ticket))
        .values(lease_expires=sql.now() + lease)
        .returning(_steps.fence)
    )
    return conn.execute(statement).first() is not None


def holding(held: Claim) -> ColumnElement[bool]:
    """Return the condition that a claim still holds its step.

    The dispatch number is part of it, since a retried run starts its fences afresh.
    """
    return and_(
        runs.step_key(held.ticket.run, held.ticket.step),
        _steps.state == StepState.RUNNING.value,
        _steps.dispatch == held.ticket.dispatch,
        _steps.fence == held.fence,
    )
