"""Run records: creating, locking, reading and counting them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, bindparam, case, cast, func, or_, select, update

from strongroom.state import codec, events, slots, sql, step_conditions, tables
from strongroom.state.errors import RunNotFound, StateError, StateUnavailable, StateUnkept
from strongroom.state.records import (
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
    Waiting,
)
from strongroom.timestamps import stamp

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
    if slot is not None and not slots.take(conn, *slot, run.id):
        return None
    if not _insert(conn, run):
        raise StateUnavailable("another process is making a run of the same request")
    insert_steps(conn, run.id, first)
    events.append(conn, "run.created", run.id, {"kind": spec.kind, "policy": spec.policy})
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
    return list(codec.readable(found, _count))


def _count(row: codec.AnyRow) -> RunCount:
    return codec.record_of(row, RunCount, f"count of runs of policy '{row.policy}'")


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
    return list(codec.readable(found, _waiting))


def _waiting(row: codec.AnyRow) -> Waiting:
    return codec.record_of(row, Waiting, f"count of steps of kind '{row.kind}'")


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
    events.append(conn, "run.swept", run, {})


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
    record = conn.execute(
        select(tables.steps).where(step_conditions.STEP), step_conditions.at(run, step)
    ).first()
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
