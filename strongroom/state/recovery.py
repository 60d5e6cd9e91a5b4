"""Noticing what got lost, and putting it right: dead workers, lost messages, steps that kill their workers.

When something counts as lost, :mod:`strongroom.state.recovery` says.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Connection, and_, bindparam, case, func, or_, select, update

from strongroom.state import catalog, codec, outcomes, runs, sql, tables
from strongroom.state.engine import StateDatabase
from strongroom.state.errors import StateUnavailable
from strongroom.state.records import Decide, Run, RunState, RunStep, StepKind, StepState
from strongroom.state.runs import FARTHEST
from strongroom.words import plural

# -- When a message or a lease counts as lost: reasoning alone, without a database --------------
#
# A message is *lost*, not *queued*, if one sent later to the same queue was taken up and
# this one was not: queues are first-in first-out. If none was sent later, a queue that has
# long given out nothing has lost it, or nobody serves it; sending again is harmless either
# way, since the old number is stale. Each further time waits twice as long.


class LossPatience(Struct, frozen=True, kw_only=True):
    """How long to wait before something counts as lost. Seconds, but for ``starts``.

    ``lease``: a claim without renewal. ``grace``: a message overtaken by a later one.
    ``idle``: a message in a queue from which nothing is taken. ``busy``: the same, while
    steps from that queue are being worked on. ``longest``: where doubling stops.
    ``starts``: how many starts without any recorded outcome a step gets.
    """

    lease: float = 15.0
    grace: float = 5.0
    idle: float = 30.0
    busy: float = 300.0
    longest: float = 600.0
    starts: int = 5


class UnsettledStep(Struct, frozen=True, kw_only=True):
    """An unsettled step as recovery looks at it; ``key`` finds and guards its row."""

    run: str
    step: RunStep
    state: StepState
    dispatch: int
    silent: int
    sends: int
    sent_at: float
    lease_expires: float


class Queue(Struct, frozen=True, kw_only=True):
    """What was taken from a queue lately. ``overtaking`` is the greatest dispatch number
    taken longer than the grace ago, ``taken_at`` when anything last was, ``working``
    whether a live lease is held on a step from it."""

    overtaking: int = 0
    taken_at: float = 0.0
    working: bool = False


def is_live(lease_expires: float, now: float) -> bool:
    """Tell whether a lease holds. One that ends later than any lease can was edited, or the clock was set
    back: it holds nothing, or its step would never be taken up again."""
    return now <= lease_expires <= now + FARTHEST


def is_lost(watched: UnsettledStep, queue: Queue, now: float, patience: LossPatience) -> bool:
    """Whether a SENT step's message will not come any more."""
    doubling: float = 2 ** max(0, watched.sends - 1)
    age = now - watched.sent_at
    if age < -patience.grace:  # the clock was set back, or the row was edited: its age says nothing
        return True
    if watched.dispatch < queue.overtaking and age > min(patience.grace * doubling, patience.longest):
        return True
    quiet = now - max(watched.sent_at, queue.taken_at)
    wait = patience.busy if queue.working else patience.idle
    return quiet > min(wait * doubling, patience.longest)


# -- Noticing what got lost, and putting it right: dead workers, lost messages, steps that kill their
# workers
#
# When something counts as lost, :mod:`strongroom.state.recovery` says.


log = logging.getLogger(__name__)

_runs, _steps = tables.runs.c, tables.steps.c
Exhausted = Callable[[Run, RunStep], StepState]


SLICE: Final = 250
"""Steps that one transaction puts right: SQLite has one write lock, and every worker waits for it."""

SLICE_SECONDS: Final = 0.25
"""A transaction ends after this long, however few steps it has put right."""

TURN_SECONDS: Final = 20.0
"""One reconcile begins no transaction after this long. The next one goes on."""


QueueOf = Mapping[StepKind, str]
"""The queue that carries each kind of step; a kind that is not in it has one of its own."""


def given_up(run: Run, step: RunStep) -> StepState:
    """What a step becomes that had all its starts: a replica is missed, else the run fails."""
    replica = step.kind in (StepKind.UPLOAD, StepKind.VERIFY, StepKind.REPAIR)
    return StepState.MISSED if replica else StepState.POISONED


def unannounced(_run: Run) -> None:
    """Tell nobody that a run failed."""


def reconcile(
    database: StateDatabase,
    decide: Decide,
    *,
    patience: LossPatience,
    exhausted: Exhausted,
    strict: str,
    failed: Callable[[Run], None] = unannounced,
    queues: QueueOf = MappingProxyType({}),
) -> list[str]:
    """Put right what got lost; see :meth:`strongroom.state.store.RunStore.reconcile`."""
    with database.reading() as conn:
        stuck = _stuck(conn, patience, queues)
    until = time.monotonic() + TURN_SECONDS
    for run, watched in stuck.items():
        try:
            before = _is_failing(database, run)
            _mend_slowly(database, run, watched, until, decide=decide, patience=patience, exhausted=exhausted)
            if before is None and (now := _is_failing(database, run)) is not None:
                failed(now)
        except StateUnavailable:
            raise
        except Exception:  # one edited run must not keep the others waiting
            if run == strict:
                raise
            log.exception("reconcile-failed", extra={"run": run})
    with database.reading() as conn:
        # An older version beside this one begins a run without a word: what was given out goes on.
        begun = or_(_runs.queued.is_(False), _steps.dispatch > 0)
        due = runs.has_step(_steps.state == StepState.READY.value, runs.DUE, begun)
        return list(conn.execute(select(_runs.id).where(tables.ACTIVE, due).order_by(_runs.id)).scalars())


def _is_failing(database: StateDatabase, run_id: str) -> Run | None:
    """Return a run that failed, or is about to end so."""
    with database.reading() as conn:
        run = runs.load(conn, run_id)
    ending = run.facts.get("ending") == RunState.FAILED.value
    return run if run.state is RunState.FAILED or (run.closing and ending) else None


def forsake(conn: Connection, run: str, owners: Collection[str]) -> bool:
    """Count the dead's claims as lost, and a slice of what was given out; tell whether there may be more. See
    :meth:`strongroom.state.store.RunStore.forsake`."""
    runs.lock(conn, run)
    steps = update(tables.steps).where(_steps.run == run, tables.UNSETTLED)
    claimed = steps.where(_steps.state == StepState.RUNNING.value, _steps.owner.in_(list(owners)))
    conn.execute(claimed.values(lease_expires=0.0))
    given_out = (_steps.run == run, tables.UNSETTLED, _steps.state == StepState.SENT.value)
    ready = update(tables.steps).values(state=StepState.READY.value)
    return sql.change_some(conn, ready, *given_out, most=sql.SLICE) >= sql.SLICE


def _stuck(conn: Connection, patience: LossPatience, queue_of: QueueOf) -> dict[str, list[UnsettledStep]]:
    """Return, by run, the steps to act on; a run without any step to wait for has none."""
    now: float = conn.execute(select(sql.now())).scalar_one()
    in_flight = (StepState.SENT.value, StepState.RUNNING.value)
    # Not joined, for the reason that :func:`runs.has_step` gives.
    active = set(conn.execute(select(_runs.id).where(tables.ACTIVE)).scalars())
    rows = conn.execute(select(tables.steps).where(tables.UNSETTLED, _steps.state.in_(in_flight)))
    watched = list(
        codec.readable(
            (row for row in rows if row.run in active),
            lambda row: UnsettledStep(
                run=row.run,
                step=codec.step_of(row),
                state=StepState(row.state),
                dispatch=row.dispatch,
                silent=_number(row.silent),
                sends=_number(row.sends),
                sent_at=_time(row.sent_at),
                lease_expires=_time(row.lease_expires),
            ),
        )
    )
    queues = _queues(conn, watched, now, patience, queue_of)
    stuck: dict[str, list[UnsettledStep]] = {run: [] for run in _stalled_runs(conn)}
    for step in watched:
        if _is_stuck(step, queues[_name(queue_of, step.step.kind)], now, patience):
            stuck.setdefault(step.run, []).append(step)
    return stuck


def _is_stuck(watched: UnsettledStep, queue: Queue, now: float, patience: LossPatience) -> bool:
    if watched.state is StepState.RUNNING:
        return not is_live(watched.lease_expires, now)
    return is_lost(watched, queue, now, patience)


def _number(value: Any) -> int:
    return min(max(value, 0), 1_000) if isinstance(value, int) else 0


def _time(value: Any) -> float:
    """Return a time, or one that no lease and no message can have: then the step is taken up again."""
    return float(value) if isinstance(value, int | float) else math.inf if value is not None else 0.0


def _name(queue_of: QueueOf, kind: StepKind) -> str:
    return queue_of.get(kind, kind.value)


def _queues(
    conn: Connection, watched: Iterable[UnsettledStep], now: float, patience: LossPatience, queue_of: QueueOf
) -> Mapping[str, Queue]:
    by_queue: dict[str, list[UnsettledStep]] = defaultdict(list)
    for step in watched:
        by_queue[_name(queue_of, step.step.kind)].append(step)
    kinds = {name: [kind for kind in StepKind if _name(queue_of, kind) == name] for name in by_queue}
    return {name: _queue(conn, kinds[name], steps, now, patience) for name, steps in by_queue.items()}


def _queue(
    conn: Connection,
    kinds: Sequence[StepKind],
    steps: Sequence[UnsettledStep],
    now: float,
    patience: LossPatience,
) -> Queue:
    waiting = [step.sent_at for step in steps if step.state is StepState.SENT]
    if not waiting:
        return Queue()
    # Nothing taken before the oldest was sent says anything about it.
    settled_order = case((_steps.started_at < now - patience.grace, _steps.dispatch), else_=0)
    query = select(func.max(settled_order), func.max(_steps.started_at)).where(
        _steps.kind.in_([kind.value for kind in kinds]),
        _steps.started_at >= min(waiting),
        _steps.started_at >= _steps.sent_at,
        _steps.started_at <= now + patience.grace,
    )
    overtaking, taken_at = conn.execute(query).one()
    working = any(step.state is StepState.RUNNING and is_live(step.lease_expires, now) for step in steps)
    return Queue(overtaking=overtaking or 0, taken_at=taken_at or 0.0, working=working)


def _stalled_runs(conn: Connection) -> list[str]:
    """Active runs in which nothing is left to do and nobody has said so."""
    return list(conn.execute(select(_runs.id).where(tables.ACTIVE, ~runs.has_step())).scalars())


def _mend_slowly(
    database: StateDatabase,
    run_id: str,
    stuck: Sequence[UnsettledStep],
    until: float,
    *,
    decide: Decide,
    patience: LossPatience,
    exhausted: Exhausted,
) -> None:
    """Put a run's steps right, a slice a transaction: others write in between."""
    if not stuck:
        with database.writing() as conn:
            _end_stalled(conn, run_id)
    left = stuck
    while left and time.monotonic() < until:
        with database.writing() as conn:
            over = _mend(conn, run_id, left[:SLICE], decide=decide, patience=patience, exhausted=exhausted)
        left = left[over:]


def _mend(
    conn: Connection,
    run_id: str,
    stuck: Sequence[UnsettledStep],
    *,
    decide: Decide,
    patience: LossPatience,
    exhausted: Exhausted,
) -> int:
    """Put steps of a run right until a slice's time is over; return how many were looked at."""
    run, until = runs.lock(conn, run_id), time.monotonic() + SLICE_SECONDS
    ready: list[UnsettledStep] = []
    over = 0
    while over < len(stuck) and not run.state.final and time.monotonic() < until:
        watched = stuck[over]
        over += 1
        # Whether a step whose lease ran out, or whose message got lost, is not to be tried again.
        closing = run.closing and watched.step.kind is not StepKind.REPORT
        if not (closing or (watched.state is StepState.RUNNING and watched.silent >= patience.starts)):
            ready += [watched] if _change(conn, watched, _MAKE_READY) else []
        elif _give_up(
            conn, watched, StepState.MISSED if run.closing else exhausted(run, watched.step), decide
        ):
            run = runs.load(conn, run_id)
    # Append one event for all steps of a slice whose messages got lost, and one for lost leases.
    expired = [str(step.step) for step in ready if step.state is StepState.RUNNING]
    lost = [str(step.step) for step in ready if step.state is StepState.SENT]
    for kind, steps in (("reconcile.expired", expired), ("reconcile.lost", lost)):
        if steps:
            catalog.append(conn, kind, run_id, {"step": steps[0], "steps": len(steps)})
    return len(stuck) if run.state.final else over


def _give_up(conn: Connection, watched: UnsettledStep, state: StepState, decide: Decide) -> bool:
    error = f"{plural(watched.silent, 'start')} without an outcome; each ended its worker or lost its lease"
    if not _change(conn, watched, _SETTLE, new_state=state.value, new_error=error):
        return False
    run = runs.lock(conn, watched.run)
    catalog.append(
        conn, "reconcile.exhausted", watched.run, {"step": str(watched.step), "state": state.value}
    )
    outcomes.give_up(conn, run, watched.step, state=state, error=error, decide=decide)
    return True


def _change(conn: Connection, watched: UnsettledStep, statement: Any, **values: Any) -> bool:
    """Write a step's row, unless it has moved since it was looked at."""
    given = runs.at(watched.run, watched.step) | {
        "at_state": watched.state.value,
        "at_dispatch": watched.dispatch,
    }
    if conn.execute(statement, given | values).first() is not None:
        return True
    if conn.execute(_STILL_SO, given).first() is not None:
        raise runs.unkept(watched.run, watched.step)
    return False


_UNMOVED: Final = and_(
    runs.STEP,
    _steps.state == bindparam("at_state"),
    _steps.dispatch == bindparam("at_dispatch"),
    # A lease may have been renewed meanwhile.
    or_(_steps.state != StepState.RUNNING.value, runs.LAPSED),
)

_STILL_SO: Final = select(_steps.run).where(_UNMOVED)

_MAKE_READY: Final = (
    update(tables.steps)
    .where(_UNMOVED)
    .values(state=StepState.READY.value, lease_expires=None, not_before=0.0)
    .returning(_steps.run)
)

_SETTLE: Final = (
    update(tables.steps)
    .where(_UNMOVED)
    .values(
        state=bindparam("new_state"),
        error=bindparam("new_error"),
        lease_expires=None,
        finished_at=sql.now(),
    )
    .returning(_steps.run)
)


def _end_stalled(conn: Connection, run_id: str) -> None:
    run = runs.lock(conn, run_id)
    if run.state.final or run_id not in _stalled_runs(conn):
        return
    reason = "nothing was left to do, and the run had not ended"
    if outcomes.has_reported(conn, run_id):
        outcomes.finalise(conn, run, RunState.FAILED, reason)
    else:
        outcomes.close(conn, run, RunState.FAILED, reason)
