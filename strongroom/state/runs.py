"""Run records: creating, locking, reading and counting them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from msgspec import structs
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    union,
    update,
)

from strongroom.state import catalog, codec, folding, notes, sql, tables
from strongroom.state.errors import RunNotFound, StateError, StateUnavailable, StateUnkept
from strongroom.state.records import (
    Claim,
    Run,
    RunCount,
    RunKind,
    RunProgress,
    RunState,
    RunStep,
    Spec,
    StepKind,
    StepRow,
    StepState,
    Tally,
    Ticket,
    Waiting,
)
from strongroom.state.sql import now
from strongroom.state.tables import steps
from strongroom.times import stamp

log = logging.getLogger(__name__)

# -- Conditions that select a step's row, and the parameters they take --------------------------
#
# Statements that run for every step are built once, with parameters: building one anew takes
# longer than running it.


STEP: Final = and_(
    steps.c.run == bindparam("at_run"),
    steps.c.kind == bindparam("at_kind"),
    steps.c.piece == bindparam("at_piece"),
    steps.c.target == bindparam("at_target"),
)
"""One step's row; takes :func:`at`."""

HELD: Final = and_(
    STEP,
    steps.c.state == StepState.RUNNING.value,
    steps.c.dispatch == bindparam("at_dispatch"),
    steps.c.fence == bindparam("at_fence"),
)
"""One step's row, as long as a claim holds it; takes :func:`held_by`. The dispatch number
is part of it, since a run that is started over starts its fences afresh."""

FARTHEST: Final = 3600.0
"""Seconds: no lease, and no pause before a step's next try, ends later than this from now. It is the most
that ``limits.lease_seconds`` may be."""

AHEAD: Final = 60.0
"""Seconds by which a clock that is set right may go back unnoticed."""

LAPSED: Final = or_(
    steps.c.lease_expires.is_(None),
    steps.c.lease_expires < now(),
    steps.c.lease_expires > now() + FARTHEST,
)
"""A RUNNING step's lease ran out, or ends later than any can: the row was edited, or the clock set back."""

DUE: Final = or_(steps.c.not_before <= now(), steps.c.not_before > now() + FARTHEST)
"""A READY step may begin; the same of its pause."""


def at(run: str, step: RunStep) -> dict[str, Any]:
    """Return the parameters of :data:`STEP`."""
    return {"at_run": run, "at_kind": step.kind.value, "at_piece": step.piece, "at_target": step.target}


def unkept(run: str, step: RunStep) -> StateUnkept:
    """Return what to raise where a row that fits a change was not changed by it.

    Somebody's trigger or rule makes nothing of it. Whoever went on would do the same step for ever.
    """
    return StateUnkept(f"the state database did not keep a change to step {step} of run {run}")


def held_by(claim: Claim) -> dict[str, Any]:
    """Return the parameters of :data:`HELD`."""
    ticket = claim.ticket
    return at(ticket.run, ticket.step) | {"at_dispatch": ticket.dispatch, "at_fence": claim.fence}


# -- Run records: creating, locking, reading and counting them ----------------------------------


_runs, _steps, _events = tables.runs.c, tables.steps.c, tables.events.c


def has_step(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return what holds of a run that has such a step that may still change: one look into the index a run.

    PostgreSQL makes a join of EXISTS. Where it counted its rows before a run of very many steps came, it
    compares each step with each run: 261 s for 196,608 of them beside 2,000 runs.
    """
    step = select(_steps.run).where(_steps.run == _runs.id, tables.UNSETTLED, *conditions)
    return step.limit(1).correlate(tables.runs).scalar_subquery().is_not(None)


RETRIED: Final = "run.retried"


def create(
    conn: Connection,
    spec: Spec,
    *,
    first: Sequence[RunStep],
    request_id: str | None,
    slot: tuple[str, float] | None,
    facts: Mapping[str, Any],
    queued: bool,
) -> Run | None:
    """Insert a run with its first steps; see :meth:`strongroom.state.store.RunStore.create`."""
    run = _new(conn, spec, request_id, facts, queued=queued)
    if slot is not None and not notes.take(conn, *slot, run.id):
        return None
    inserted = sql.insert_one(
        conn,
        tables.runs,
        id=run.id,
        kind=spec.kind.value,
        policy=spec.policy,
        spec=codec.encode(spec),
        state=run.state.value,
        closing=False,
        request_id=request_id,
        facts=codec.encode(run.facts),
        created_at=run.created_at,
        queued=queued,
    )
    if not inserted:
        raise StateUnavailable("another process is making a run of the same request")
    insert_steps(conn, run.id, first)
    catalog.append(conn, "run.created", run.id, {"kind": spec.kind, "policy": spec.policy})
    return run


def _new(
    conn: Connection, spec: Spec, request_id: str | None, facts: Mapping[str, Any], *, queued: bool
) -> Run:
    moment: float = conn.execute(select(sql.now())).scalar_one()
    return Run(
        id=f"{stamp(moment)}-{secrets.token_hex(4)}",
        spec=spec,
        state=RunState.ACTIVE,
        request_id=request_id,
        created_at=moment,
        finished_at=None,
        error=None,
        facts=dict(facts),
        queued=queued,
    )


def insert_steps(conn: Connection, run: str, new: Iterable[RunStep]) -> None:
    """Insert steps as READY; those that exist stay as they are."""
    fresh = {
        "state": StepState.READY.value,
        "attempts": 0,
        "silent": 0,
        "dispatch": 0,
        "sends": 0,
        "not_before": 0.0,
        "fence": 0,
    }
    rows = [{"run": run, "kind": s.kind.value, "piece": s.piece, "target": s.target} | fresh for s in new]
    sql.insert_new(conn, tables.steps, rows)


def lock(conn: Connection, run: str) -> Run:
    """Return a run, holding its row until the transaction ends.

    Everything that settles a step comes through here first, so of two that record the last
    two pieces the second counts the first: that is how the last one is known. SQLite holds
    its one write lock already and ignores FOR UPDATE.
    """
    return _found(conn.execute(_LOAD.with_for_update(), {"at_run": run}).first(), run)


def load(conn: Connection, run: str) -> Run:
    """Return a run."""
    return _found(conn.execute(_LOAD, {"at_run": run}).first(), run)


_LOAD: Final = select(tables.runs).where(_runs.id == bindparam("at_run"))


def _found(row: codec.AnyRow | None, name: str) -> Run:
    if row is None:
        raise RunNotFound(f"there is no run {name}")
    return codec.run_of(row)


def by_request(conn: Connection, request_id: str) -> Run | None:
    """Return the run that a request made, if it has."""
    row = conn.execute(select(tables.runs).where(_runs.request_id == request_id)).first()
    return None if row is None else codec.run_of(row)


def find(conn: Connection, name: str) -> Run:
    """Return the run of an id or a request id."""
    query = select(tables.runs).where(or_(_runs.id == name, _runs.request_id == name))
    return _found(conn.execute(query).first(), name)


def newest(conn: Connection, limit: int, before: str | None = None) -> list[Run]:
    """Return runs, newest first; those after one in that order if given."""
    query = select(tables.runs).order_by(_runs.created_at.desc(), _runs.id.desc()).limit(limit)
    if before is not None:
        query = query.where(sql.before(_runs.created_at, _runs.id, before))
    return list(codec.readable(conn.execute(query), codec.run_of))


def of(conn: Connection, policy: str, kind: RunKind, limit: int) -> list[Run]:
    """Return the newest runs of a policy and kind, newest first."""
    query = select(tables.runs).where(_runs.policy == policy, _runs.kind == kind.value)
    query = query.order_by(_runs.created_at.desc(), _runs.id.desc()).limit(limit)
    return list(codec.readable(conn.execute(query), codec.run_of))


def states_of(conn: Connection, policy: str, kind: RunKind, since: float) -> list[tuple[float, RunState]]:
    """Return when each run of a policy and kind began since a time, the oldest first, and how it stands. An
    odd row is left out."""
    query = select(_runs.created_at, _runs.state).where(_runs.policy == policy, _runs.kind == kind.value)
    found = conn.execute(query.where(_runs.created_at >= since).order_by(_runs.created_at, _runs.id))
    known = {state.value for state in RunState}
    return [(at, RunState(state)) for at, state in found if isinstance(at, float) and state in known]


def between(conn: Connection, since: float, until: float) -> list[Run]:
    """Return the runs that had begun at a time, and had not ended at an earlier one."""
    ended = select(tables.runs).where(_runs.created_at <= until, _runs.finished_at >= since)
    going = select(tables.runs).where(_runs.created_at <= until, tables.ACTIVE)
    rows = (row for query in (going, ended) for row in conn.execute(query))
    return list(codec.readable(rows, codec.run_of))


def sealed_since(conn: Connection, policy: str, fingerprint: str) -> float | None:
    """Return when the first backup of a policy began whose run names a recipient of this fingerprint."""
    # The oldest first, for nearly always that is the one: a key is in use for years.
    query = select(_runs.created_at).where(_runs.policy == policy, _runs.kind == RunKind.BACKUP.value)
    query = query.where(_runs.created_at.between(0.0, codec.LAST_TIME)).order_by(_runs.created_at).limit(1)
    return conn.execute(query.where(_runs.spec.contains(fingerprint, autoescape=True))).scalar()


def first_at(conn: Connection) -> float | None:
    """Return when the oldest run was created; ``None`` where no row says a time."""
    found = conn.execute(select(func.min(_runs.created_at))).scalar()
    return found if isinstance(found, float) else None


def active(conn: Connection) -> list[Run]:
    """Return the runs that have not ended, by id."""
    query = select(tables.runs).where(tables.ACTIVE).order_by(_runs.id)
    return list(codec.readable(conn.execute(query), codec.run_of))


def counts(conn: Connection, since: float) -> list[RunCount]:
    """Count the runs that were made since a time, and how often they were retried."""
    groups = (_runs.policy, _runs.kind, _runs.state)
    counted = select(*groups, func.count().label("runs"), literal(0).label("retries"))
    counted = counted.where(_runs.created_at >= since).group_by(*groups)
    # Few runs are: the index of events finds them, and no other run's row is read for that.
    retried = select(*groups, literal(0).label("runs"), func.count().label("retries"))
    retried = retried.select_from(tables.events.join(tables.runs, _events.run == _runs.id))
    retried = retried.where(_events.kind == RETRIED, _runs.created_at >= since).group_by(*groups)
    counts = _read_counts(conn, counted)
    times = {(found.policy, found.kind, found.state): found.retries for found in _read_counts(conn, retried)}
    counts.sort(key=lambda count: (count.policy, count.kind.value, count.state.value))
    return [
        structs.replace(count, retries=times.get((count.policy, count.kind, count.state), 0))
        for count in counts
    ]


def _read_counts(conn: Connection, query: Select[Any]) -> list[RunCount]:
    return list(
        codec.readable(
            conn.execute(query),
            lambda row: codec.record_of(row, RunCount, f"count of runs of policy '{row.policy}'"),
        )
    )


def waiting(conn: Connection) -> list[Waiting]:
    """Count the steps that have not ended, of all runs."""
    # A step without a time of its own is due since its run was made.
    since = case(
        (_steps.state == StepState.RUNNING.value, _steps.started_at),
        (_steps.state == StepState.SENT.value, _steps.sent_at),
        (_steps.not_before > 0.0, _steps.not_before),
    )
    oldest = func.min(func.coalesce(since, _runs.created_at))
    # An expression in place of the column: SQLite would read the index of all steps there ever were, for it
    # is in the order of kinds, and not the one of those that have not ended.
    groups = (_steps.kind.concat("").label("kind"), _steps.state)
    query = select(*groups, func.count().label("steps"), oldest.label("since"))
    query = query.select_from(tables.steps.join(tables.runs, _steps.run == _runs.id))
    found = conn.execute(query.where(tables.UNSETTLED).group_by(*groups).order_by(*groups))
    return list(
        codec.readable(
            found, lambda row: codec.record_of(row, Waiting, f"count of steps of kind '{row.kind}'")
        )
    )


def unreadable(conn: Connection) -> list[str]:
    """Say of which runs the rows cannot be read."""
    return codec.complaints(conn.execute(select(tables.runs).order_by(_runs.id)), codec.run_of)


def leaving(conn: Connection, policy: str, limit: int) -> list[Run]:
    """Return some of a policy's ended backups that left something to sweep, by lot: each has its turn."""
    # Of two indexes that fit, SQLite takes the one that was made later, which differs from database to
    # database. An expression in place of the column leaves it the index of what remains.
    query = select(tables.runs).where(_runs.policy.concat("") == policy, tables.REMAINS)
    query = query.where(_runs.state != RunState.ACTIVE.value)
    return list(codec.readable(conn.execute(query.order_by(func.random()).limit(limit)), codec.run_of))


def swept(conn: Connection, run: str) -> None:
    """Note that a run leaves nothing any more."""
    change(conn, run, remains=False)
    catalog.append(conn, "run.swept", run, {})


def tally(conn: Connection, run: str) -> Tally:
    """Count a run's steps by kind, target and state."""
    counts = codec.counts_of(list(conn.execute(_TALLY, {"at_run": run})), run)
    return Tally(counts) if counts else folding.tally_of(conn, run)


_TALLY: Final = (
    select(_steps.kind, _steps.target, _steps.state, func.count())
    .where(_steps.run == bindparam("at_run"), folding.unfolded(bindparam("at_run")))
    .group_by(_steps.state, _steps.kind, _steps.target)  # as the index has them
)


def progress(conn: Connection) -> dict[str, RunProgress]:
    """Return how far each run is that has not ended."""
    groups = (_steps.run, _steps.kind, _steps.target, _steps.state)
    query = select(*groups, func.count(), func.max(_steps.started_at), func.max(_steps.finished_at))
    query = query.where(_steps.run.in_(select(_runs.id).where(tables.ACTIVE))).group_by(*groups)
    counts: dict[str, list[Sequence[Any]]] = {}
    moved: dict[str, float] = {}
    for run, *counted, started, finished in conn.execute(query):
        counts.setdefault(run, []).append(counted)
        times = [at for at in (started, finished) if isinstance(at, int | float)]
        moved[run] = max([moved.get(run, 0.0), *times])
    found = {run: RunProgress(tally=Tally({}), moved_at=moved[run]) for run in counts}
    for run, rows in counts.items():
        with suppress(StateError):  # an odd row hides how far its run is, and nothing else
            found[run] = structs.replace(found[run], tally=Tally(codec.counts_of(rows, run)))
    return found


def newest_ends(conn: Connection) -> dict[RunKind, float]:
    """Return when a run of each kind last ended, of those within a day. An odd row says nothing."""
    query = select(_runs.kind, func.max(_runs.finished_at)).where(_runs.finished_at > now() - 86_400.0)
    found = conn.execute(query.where(_runs.finished_at < now() + AHEAD).group_by(_runs.kind))
    known = {kind.value for kind in RunKind}
    return {RunKind(kind): at for kind, at in found if kind in known and isinstance(at, float)}


def row(conn: Connection, run: str, step: RunStep) -> StepRow:
    """Return one step."""
    record = conn.execute(select(tables.steps).where(STEP), at(run, step)).first()
    if record is not None:
        return codec.step_row_of(record)
    kept = next((row for row in folding.rows_of(conn, run) if row.step == step), None)
    if kept is None:
        raise StateError(f"run {run} has no step {step}")
    return kept


def rows(conn: Connection, run: str, kind: StepKind | None = None, piece: int | None = None) -> list[StepRow]:
    """Return a run's steps in order; of one kind or piece if given. Of a run that ended long ago one record
    stands for those of many pieces."""
    query = select(tables.steps).where(_steps.run == run, folding.unfolded(run))
    query = query.order_by(_steps.kind, _steps.piece, _steps.target)
    if kind is not None:
        query = query.where(_steps.kind == kind.value)
    if piece is not None:
        query = query.where(_steps.piece == piece)
    found = [codec.step_row_of(row) for row in conn.execute(query)]
    if found or piece is not None:
        return found
    return [row for row in folding.rows_of(conn, run) if kind in (None, row.step.kind)]


def change(conn: Connection, run: str, **values: Any) -> None:
    """Write columns of a run's row, which the caller has locked."""
    if "facts" in values:
        values["facts"] = codec.encode(values["facts"])
    if conn.execute(update(tables.runs).where(_runs.id == run).values(**values)).rowcount != 1:
        raise StateUnkept(f"the state database did not keep a change to run {run}")


# -- Giving steps out and leasing them ----------------------------------------------------------
#
# A step goes READY → SENT (its message is on the way) → RUNNING (somebody holds its lease)
# → settled. Each SENT has a dispatch number of its own; each RUNNING a fence.


ALL_KINDS: Final = frozenset(StepKind)

MOST: Final = 2_000
"""Steps that are given out in one transaction; every step that ends gives out what is left."""


def give_out(
    conn: Connection, run: Run, *, window: int, kinds: Collection[StepKind] = ALL_KINDS
) -> list[Ticket]:
    """Mark what may go out of a run as SENT, its row locked: nothing before all that follows is there.

    Args:
        kinds: the only ones of which a step may be READY. Who has just counted need not look for others: to
            look through 100,000 captures that wait takes longer than all else of a step.
    """
    if run.state.final or run.unmade:
        return []
    going: list[RunStep] = []
    for kind in sorted(kinds) if kinds is not ALL_KINDS else _kinds(conn, run.id):
        if kind != StepKind.CAPTURE:
            going += map(codec.step_of, conn.execute(_DUE, {"at_run": run.id, "at_kind": kind, "room": MOST}))
    going = sorted(going, key=lambda step: (step.piece, step.kind, step.target))[:MOST]
    if StepKind.CAPTURE in kinds:
        # Count the pieces that lie on the stage, or are about to.
        count: int = conn.execute(_OPEN_PIECES, {"at_run": run.id}).scalar_one()
        if (room := min(window - count, MOST - len(going))) > 0:
            going += map(codec.step_of, conn.execute(_DUE_CAPTURES, {"at_run": run.id, "room": room}))
    return _send(conn, run, going)


_READY: Final = (
    select(_steps.run, _steps.kind, _steps.piece, _steps.target)
    .where(
        _steps.run == bindparam("at_run"),
        tables.UNSETTLED,
        _steps.state == StepState.READY.value,
    )
    .where(DUE)
)


# Each kind by itself, for it lies in order in the index: to sort all that wait in a run of very many
# containers would take longer than all else of a step.
_DUE: Final = (
    _READY.where(_steps.kind == bindparam("at_kind"))
    .order_by(_steps.piece, _steps.target)
    .limit(bindparam("room"))
)


def _kinds(conn: Connection, run: str) -> Iterator[str]:
    """Yield the kinds of the steps of a run that may still change, whoever wrote them: each by one look."""
    kind = conn.execute(_NEXT_KIND, {"at_run": run, "after": ""}).scalar()
    while kind is not None:
        yield kind
        kind = conn.execute(_NEXT_KIND, {"at_run": run, "after": kind}).scalar()


_NEXT_KIND: Final = (
    select(_steps.kind)
    .where(_steps.run == bindparam("at_run"), tables.UNSETTLED, _steps.kind > bindparam("after"))
    .order_by(_steps.kind)
    .limit(1)
)

# Captures apart: as long as there is no room for them they would keep all else from going out.
_DUE_CAPTURES: Final = (
    _READY.where(_steps.kind == StepKind.CAPTURE.value).order_by(_steps.piece).limit(bindparam("room"))
)


# Each state by itself, for of the captures that wait there may be very many.
_UNDER_WAY: Final = select(_steps.piece).where(_steps.run == bindparam("at_run"), tables.UNSETTLED)
_CAPTURED: Final = _UNDER_WAY.where(_steps.kind == StepKind.CAPTURE.value)
_OPEN_PIECES: Final = select(func.count()).select_from(
    union(
        _UNDER_WAY.where(_steps.kind == StepKind.UPLOAD.value),
        *(_CAPTURED.where(_steps.state == at.value) for at in (StepState.SENT, StepState.RUNNING)),
    ).subquery()
)


def _send(conn: Connection, run: Run, going: list[RunStep]) -> list[Ticket]:
    if not going:
        return []
    if run.queued:  # whatever of it goes out: an older version began it and did not say so
        conn.execute(BEGIN, {"at_run": run.id})
    # Reserve ``count`` numbers; return the first. A counter row, not a sequence: it is given out in the order
    # of commits, so a number is never seen before a smaller one is in its row.
    count = len(going)
    last = conn.execute(_COUNT_ON, {"more": count}).scalar()
    if not isinstance(last, int):
        raise StateError("the state database holds an unreadable counter of what was sent", hint=codec.ODD)
    first = last - count + 1
    tickets = [Ticket(run.id, step, first + offset) for offset, step in enumerate(going)]
    rows = [at(run.id, ticket.step) | {"new_dispatch": ticket.dispatch} for ticket in tickets]
    if conn.execute(_SEND, rows).rowcount != len(rows):
        raise unkept(run.id, going[0])
    return tickets


BEGIN: Final = update(tables.runs).where(_runs.id == bindparam("at_run"), tables.QUEUED).values(queued=False)

_COUNT_ON: Final = (
    update(tables.counters)
    .where(tables.counters.c.name == "dispatch")
    .values(value=tables.counters.c.value + bindparam("more"))
    .returning(tables.counters.c.value)
)

_SEND: Final = (
    update(tables.steps)
    .where(STEP)
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
    given |= at(ticket.run, ticket.step)
    row = conn.execute(_CLAIM, given).first()
    if row is None and conn.execute(_CLAIMABLE, given).first() is not None:
        raise unkept(ticket.run, ticket.step)
    if row is None:
        return None
    run = load(conn, ticket.run)
    return Claim(ticket=ticket, run=run, owner=owner, fence=row.fence, attempt=row.attempts)


# The run is active and, if it is closing, this is what closes it.
_WANTED: Final = exists(
    select(_runs.id)
    .where(_runs.id == _steps.run, _runs.state == RunState.ACTIVE.value)
    .where(or_(_runs.closing.is_(False), _steps.kind == StepKind.REPORT.value))
    .correlate(tables.steps)
)

_FREE: Final = or_(
    _steps.state == StepState.SENT.value,
    and_(_steps.state == StepState.RUNNING.value, LAPSED),
)

_FITS: Final = and_(
    STEP,
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
    return conn.execute(_RENEW, held_by(claim) | {"lease": lease}).first() is not None


_RENEW: Final = (
    update(tables.steps)
    .where(HELD, _WANTED)
    .values(lease_expires=sql.now() + bindparam("lease", type_=Double))
    .returning(_steps.fence)
)
