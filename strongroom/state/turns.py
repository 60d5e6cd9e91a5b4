"""Whose turn it is: a run that has begun is finished before many others begin.

Queues are first in, first out. If each run were given out as soon as it is on record, all of several
hundred would be planned before the first is captured, and captured before the first is whole. So a run of
some kinds waits in its row until fewer than so many of its kind are at work. Which of them is next is
decided one after the other: two that ask at once begin no two in one place.

A run that only waits has given up its place, or a target that is away would keep all others from beginning.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, and_, bindparam, exists, func, or_, select

from strongroom.state import codec, runs, tables
from strongroom.state.errors import StateError
from strongroom.state.records import RunKind, StepState, Ticket
from strongroom.state.sql import now

log = logging.getLogger(__name__)

_runs, _steps = tables.runs.c, tables.steps.c

YIELDS: Final = 60.0
"""Seconds after which a run is not at work any more that waits for room or a place that does not answer, or
for workers where no step of its kind is being performed."""


BEGUN_TOGETHER: Final = 50
"""Runs that one transaction begins: every worker waits for SQLite's one lock."""

_TURNS: Final = 0x7475726E73  # any number of our own will do
_ONE_AFTER_THE_OTHER: Final = select(func.pg_advisory_xact_lock(_TURNS))


def queued_kinds(conn: Connection) -> list[RunKind]:
    """Return the kinds of the runs that wait for their turn."""
    known = {kind.value for kind in RunKind}
    return [RunKind(kind) for kind in conn.execute(_QUEUED_KINDS).scalars() if kind in known]


def begin_next(conn: Connection, kind: RunKind, *, most: int, window: int, apart: bool) -> list[Ticket]:
    """Begin the oldest runs that wait; see :meth:`strongroom.state.store.RunStore.begin_next`."""
    if conn.dialect.name == "postgresql":  # SQLite's write lock is held already
        conn.execute(_ONE_AFTER_THE_OTHER)
    at_work = list(conn.execute(_AT_WORK, {"at_kind": kind.value}).scalars())
    busy = set(at_work) if apart else set()
    tickets: list[Ticket] = []
    odd: set[str] = set()
    room = min(most - len(at_work), BEGUN_TOGETHER)
    while room > 0 and (run := _next(conn, kind, busy, odd, apart=apart)) is not None:
        try:
            tickets += runs.give_out(conn, runs.lock(conn, run.id), window=window)
        except StateError as error:  # one edited run must not keep the others waiting
            log.error("run-not-begun", extra={"run": run.id, "why": error.message})
            odd.add(run.id)
            continue
        conn.execute(runs.BEGIN, {"at_run": run.id})
        room -= 1
        busy |= {run.policy} if apart else set()
    return tickets


def _next(
    conn: Connection, kind: RunKind, busy: Collection[str], odd: Collection[str], *, apart: bool
) -> codec.AnyRow | None:
    """Return the oldest run that waits, is none of those that are odd, and whose policy has none at work."""
    waiting = select(_runs.id, _runs.policy).where(tables.QUEUED)
    waiting = waiting.where(_runs.kind == kind.value).order_by(_runs.created_at)
    if apart:
        waiting = waiting.where(_runs.policy.not_in(busy))
    if odd:
        waiting = waiting.where(_runs.id.not_in(odd))
    return conn.execute(waiting.limit(1)).first()


_QUEUED_KINDS: Final = select(_runs.kind).where(tables.QUEUED).distinct().order_by(_runs.kind)

_others: Final = tables.steps.alias("others")
_IS_SERVED: Final = exists().where(
    _others.c.state == StepState.RUNNING.value,
    _others.c.kind == _steps.kind,
    _others.c.lease_expires > now(),
)
"""Another step of its kind is being performed: its queue is long, and not left alone."""

_WAITS_BRIEFLY: Final = or_(_steps.waits_since.is_(None), _steps.waits_since > now() - YIELDS)


_MOVES: Final = runs.has_step(
    or_(
        _steps.state == StepState.RUNNING.value,
        and_(
            _steps.state == StepState.SENT.value,
            or_(_steps.sent_at > now() - YIELDS, _IS_SERVED),
        ),
        and_(_steps.state == StepState.READY.value, _steps.not_before > now(), _WAITS_BRIEFLY),
    )
)
# What could go out, and does not beside what is out, has no room, and says nothing.
_MAY_MOVE: Final = and_(
    ~runs.has_step(_steps.state == StepState.SENT.value),
    runs.has_step(_steps.state == StepState.READY.value, _WAITS_BRIEFLY),
)
_LONG_WAITING: Final = runs.has_step(_steps.waits_since <= now() - YIELDS)
_AT_WORK: Final = select(_runs.policy).where(
    tables.BEGUN, _runs.kind == bindparam("at_kind"), or_(_MOVES, _MAY_MOVE), ~_LONG_WAITING
)
"""The policy of each run of a kind that is at work."""
