"""Run records: creating, locking, reading and counting them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Double,
    and_,
    bindparam,
    case,
    cast,
    distinct,
    exists,
    func,
    or_,
    select,
    update,
)

from strongroom.state import catalog, codec, notes, sql, tables
from strongroom.state.errors import RunNotFound, StateError, StateUnavailable, StateUnkept
from strongroom.state.records import (
    Claim,
    Run,
    RunCount,
    RunKind,
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

RETRIED: Final = "run.retried"


def create(
    conn: Connection,
    spec: Spec,
    *,
    first: Sequence[RunStep],
    request_id: str | None,
    slot: tuple[str, float] | None,
    facts: Mapping[str, Any],
) -> Run | None:
    """Insert a run with its first steps; see :meth:`strongroom.state.store.RunStore.create`."""
    if request_id is not None and (existing := by_request(conn, request_id)) is not None:
        return existing
    run = _new(conn, spec, request_id, facts)
    if slot is not None and not notes.take(conn, *slot, run.id):
        return None
    if not _insert(conn, run):
        raise StateUnavailable("another process is making a run of the same request")
    insert_steps(conn, run.id, first)
    catalog.append(conn, "run.created", run.id, {"kind": spec.kind, "policy": spec.policy})
    return run


def _new(conn: Connection, spec: Spec, request_id: str | None, facts: Mapping[str, Any]) -> Run:
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
    )


def _insert(conn: Connection, run: Run) -> bool:
    return sql.insert_one(
        conn,
        tables.runs,
        id=run.id,
        kind=run.spec.kind.value,
        policy=run.spec.policy,
        spec=codec.encode(run.spec),
        state=run.state.value,
        closing=False,
        request_id=run.request_id,
        facts=codec.encode(run.facts),
        created_at=run.created_at,
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


def between(conn: Connection, since: float, until: float) -> list[Run]:
    """Return the runs that had begun at a time, and had not ended at an earlier one."""
    going = or_(_runs.finished_at.is_(None), _runs.finished_at >= since)
    query = select(tables.runs).where(_runs.created_at <= until, going)
    return list(codec.readable(conn.execute(query), codec.run_of))


def sealed_since(conn: Connection, policy: str, fingerprint: str) -> float | None:
    """Return when the first backup of a policy began whose run names a recipient of this fingerprint."""
    query = select(func.min(_runs.created_at)).where(_runs.policy == policy)
    query = query.where(_runs.kind == RunKind.BACKUP.value, _runs.created_at.between(0.0, codec.LAST_TIME))
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
    retries = select(_events.run, func.count().label("many")).where(_events.kind == RETRIED)
    retried = retries.group_by(_events.run).subquery()
    again = cast(func.sum(func.coalesce(retried.c.many, 0)), BigInteger)  # PostgreSQL adds up to decimals
    query = select(*groups, func.count().label("runs"), again.label("retries"))
    query = query.select_from(tables.runs.outerjoin(retried, retried.c.run == _runs.id))
    found = conn.execute(query.where(_runs.created_at >= since).group_by(*groups).order_by(*groups))
    return list(
        codec.readable(
            found, lambda row: codec.record_of(row, RunCount, f"count of runs of policy '{row.policy}'")
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
    groups = (_steps.kind, _steps.state)
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
    return Tally(codec.counts_of(list(conn.execute(_TALLY, {"at_run": run})), run))


_TALLY: Final = (
    select(_steps.kind, _steps.target, _steps.state, func.count())
    .where(_steps.run == bindparam("at_run"))
    .group_by(_steps.kind, _steps.target, _steps.state)
)


def moved_at(conn: Connection, run: str) -> float:
    """Return when a step of a run was last begun or ended; 0 if none was."""
    query = select(func.max(_steps.started_at), func.max(_steps.finished_at)).where(_steps.run == run)
    found = [value for value in conn.execute(query).one() if isinstance(value, int | float)]
    return max(found, default=0.0)


def row(conn: Connection, run: str, step: RunStep) -> StepRow:
    """Return one step."""
    record = conn.execute(select(tables.steps).where(STEP), at(run, step)).first()
    if record is None:
        raise StateError(f"run {run} has no step {step}")
    return codec.step_row_of(record)


def rows(conn: Connection, run: str, kind: StepKind | None = None, piece: int | None = None) -> list[StepRow]:
    """Return a run's steps in order; of one kind or piece if given."""
    query = select(tables.steps).where(_steps.run == run)
    query = query.order_by(_steps.kind, _steps.piece, _steps.target)
    if kind is not None:
        query = query.where(_steps.kind == kind.value)
    if piece is not None:
        query = query.where(_steps.piece == piece)
    return [codec.step_row_of(row) for row in conn.execute(query)]


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


_claimed_runs, _claimed_steps = tables.runs.c, tables.steps.c

MOST: Final = 2_000
"""Steps that are given out in one transaction; every step that ends gives out what is left."""


def take_ready(conn: Connection, run_id: str, *, window: int) -> list[Ticket]:
    """Mark what may go out as SENT; see :meth:`strongroom.state.store.RunStore.take_ready`."""
    run = lock(conn, run_id)
    if run.state.final:
        return []
    due = [codec.step_of(row) for row in conn.execute(_DUE, {"at_run": run_id})]
    # Count the pieces that lie on the stage, or are about to.
    count: int = conn.execute(_OPEN_PIECES, {"at_run": run_id}).scalar_one()
    room = max(0, window - count)
    captures = [step for step in due if step.kind is StepKind.CAPTURE][:room]
    going = [step for step in due if step.kind is not StepKind.CAPTURE] + captures
    return _send(conn, run_id, going)


_DUE: Final = (
    select(_claimed_steps.run, _claimed_steps.kind, _claimed_steps.piece, _claimed_steps.target)
    .where(
        _claimed_steps.run == bindparam("at_run"),
        tables.UNSETTLED,
        _claimed_steps.state == StepState.READY.value,
    )
    .where(DUE)
    # Captures last: as long as there is no room for them they would keep all else from going out.
    .order_by(
        _claimed_steps.kind == StepKind.CAPTURE.value,
        _claimed_steps.piece,
        _claimed_steps.kind,
        _claimed_steps.target,
    )
    .limit(MOST)
)


_OPEN_PIECES: Final = (
    select(func.count(distinct(_claimed_steps.piece)))
    .where(_claimed_steps.run == bindparam("at_run"), tables.UNSETTLED)
    .where(
        or_(
            _claimed_steps.kind == StepKind.UPLOAD.value,
            and_(
                _claimed_steps.kind == StepKind.CAPTURE.value, _claimed_steps.state != StepState.READY.value
            ),
        )
    )
)


def _send(conn: Connection, run: str, going: list[RunStep]) -> list[Ticket]:
    if not going:
        return []
    # Reserve ``count`` numbers; return the first. A counter row, not a sequence: it is given out in the order
    # of commits, so a number is never seen before a smaller one is in its row.
    count = len(going)
    last = conn.execute(_COUNT_ON, {"more": count}).scalar()
    if not isinstance(last, int):
        raise StateError("the state database holds an unreadable counter of what was sent", hint=codec.ODD)
    first = last - count + 1
    tickets = [Ticket(run, step, first + offset) for offset, step in enumerate(going)]
    rows = [at(run, ticket.step) | {"new_dispatch": ticket.dispatch} for ticket in tickets]
    if conn.execute(_SEND, rows).rowcount != len(rows):
        raise unkept(run, going[0])
    return tickets


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
        sends=_claimed_steps.sends + 1,
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
    return None if row is None else Claim(ticket=ticket, owner=owner, fence=row.fence, attempt=row.attempts)


# The run is active and, if it is closing, this is what closes it.
_WANTED: Final = exists(
    select(_claimed_runs.id)
    .where(_claimed_runs.id == _claimed_steps.run, _claimed_runs.state == RunState.ACTIVE.value)
    .where(or_(_claimed_runs.closing.is_(False), _claimed_steps.kind == StepKind.REPORT.value))
    .correlate(tables.steps)
)

_FREE: Final = or_(
    _claimed_steps.state == StepState.SENT.value,
    and_(_claimed_steps.state == StepState.RUNNING.value, LAPSED),
)

_FITS: Final = and_(
    STEP,
    _claimed_steps.dispatch == bindparam("at_dispatch"),
    _FREE,
    _WANTED,
    _claimed_steps.silent < bindparam("starts"),
)

_CLAIMABLE: Final = select(_claimed_steps.run).where(_FITS)

_CLAIM: Final = (
    update(tables.steps)
    .where(_FITS)
    .values(
        state=StepState.RUNNING.value,
        attempts=_claimed_steps.attempts + 1,
        silent=_claimed_steps.silent + 1,
        fence=_claimed_steps.fence + 1,
        sends=0,
        owner=bindparam("new_owner"),
        started_at=sql.now(),
        lease_expires=sql.now() + bindparam("lease", type_=Double),
    )
    .returning(_claimed_steps.fence, _claimed_steps.attempts)
)


def renew(conn: Connection, claim: Claim, *, lease: float) -> bool:
    """Extend a lease; see :meth:`strongroom.state.store.RunStore.renew`."""
    return conn.execute(_RENEW, held_by(claim) | {"lease": lease}).first() is not None


_RENEW: Final = (
    update(tables.steps)
    .where(HELD, _WANTED)
    .values(lease_expires=sql.now() + bindparam("lease", type_=Double))
    .returning(_claimed_steps.fence)
)
