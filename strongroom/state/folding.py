"""The steps of runs that ended long ago, in a few records a run: what a record of ten years keeps of them.

A run of a thousand containers has seven thousand steps. Once nobody retries it any more, what people and
reports ask of them are counts, times, tries, errors and who performed them; that is kept by kind, target,
state and host. A step that is about no single container is kept as it is, with its result: later runs read
some.

Nothing that is signed or chained is touched: the events of a run stay, and what its seal workers signed is in
the manifest on its targets. The record is written whole before the first step goes, and as long as it is
there it is what is read. So whoever is killed in between, or does the same at the same time, changes nothing.
Where the record has not seen the months pass that the clock says have passed, nothing is folded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Any, Final

import msgspec
from msgspec import structs
from sqlalchemy import Connection, Select, delete, exists, func, select, update

from strongroom.state import codec, sql, tables
from strongroom.state.engine import StateDatabase
from strongroom.state.errors import StateError
from strongroom.state.records import RunKind, RunState, StepKind, StepRow, StepState, Tally
from strongroom.state.sql import SLICE

log = logging.getLogger(__name__)

AFTER: Final = 90 * 86_400.0
"""Seconds after its end that a run's steps are folded: its retry was refused long ago, and the alerts, pace
and reports that look at steps look at those of weeks."""

SLICE_SECONDS: Final = 0.1
"""A transaction looks at no further run after this long, however few steps it has removed."""

_TOGETHER: Final = 50
"""Runs that are looked at in one transaction."""

_runs, _steps, _folded = tables.runs.c, tables.steps.c, tables.folded_steps.c
_KINDS: Final = frozenset(RunKind)
_GONE: Final = (StepKind.PLAN, StepKind.REPORT)
"""Kinds of steps whose results are the run's facts."""


def fold(
    database: StateDatabase, *, keeps: Callable[[], Collection[RunKind]], seconds: float, after: float = AFTER
) -> int:
    """Fold steps until there are none left that are old enough, or the time is over; return how many went.

    Args:
        keeps: asked once there is something to fold, for the kinds of runs whose steps stay as they are: an
            undo reads what its restore wrote.
    """
    with database.reading() as conn:
        if conn.execute(_old(after).limit(1)).first() is None:
            return 0
        if not _time_passed(conn):
            log.warning("steps-not-folded", extra={"why": "the record has not seen so much time pass"})
            return 0
    until, kept, went = time.monotonic() + seconds, keeps(), 0
    while True:
        with database.writing() as conn:
            more, some = _slice(conn, kept, after)
        went += some
        if not more or time.monotonic() > until:
            return went


def _time_passed(conn: Connection) -> bool:
    """Tell whether the record itself has seen the time pass that its clock says has passed.

    A clock that was set far ahead makes all runs old at once. Then there are no runs of the months in
    between. An installation that is quiet for so long has little to fold.
    """
    now: float = conn.execute(select(sql.now())).scalar_one()
    if abs(now - time.time()) > _APART:
        return False
    began = [now - month * _MONTH for month in range(round(AFTER / _MONTH) + 1)]
    made = (_runs.created_at.between(since, until) for until, since in pairwise(began))
    return all(conn.execute(select(_runs.id).where(some).limit(1)).first() for some in made)


_MONTH: Final = 30 * 86_400.0
_APART: Final = 60.0
"""Seconds between the clocks of this host and the database at which one of them is wrong."""


def _old(after: float) -> Select[Any]:
    # What left something is swept by later runs, which take it up as it was.
    query = select(_runs.id, _runs.kind).where(tables.UNFOLDED, _runs.finished_at < sql.now() - after)
    query = query.where(_runs.remains.is_(False), _runs.state != RunState.ACTIVE.value)
    return query.order_by(_runs.finished_at)


def _slice(conn: Connection, keeps: Collection[RunKind], after: float) -> tuple[bool, int]:
    """Fold runs until so many steps have gone; tell whether there may be more, and how many went."""
    found = conn.execute(_old(after).limit(_TOGETHER).with_for_update(skip_locked=True)).all()
    went, until = 0, time.monotonic() + SLICE_SECONDS
    for run, kind in found:
        # What a newer version made, and what somebody edited, stays as it is, and keeps nothing else from it.
        if kind in _KINDS and kind not in keeps:
            try:
                went += _fold_run(conn, run, SLICE - went)
            except StateError as error:
                log.error("steps-not-folded", extra={"run": run, "why": error.message})
            if went >= SLICE:
                return True, went
        conn.execute(update(tables.runs).where(_runs.id == run).values(folded=True))
        if time.monotonic() > until:
            return True, went
    return len(found) == _TOGETHER, went


def _fold_run(conn: Connection, run: str, most: int) -> int:
    """Put the record of a run's steps in their place, and remove so many of them; return how many went."""
    if conn.execute(select(_folded.run).where(_folded.run == run)).first() is None:
        query = select(tables.steps).where(_steps.run == run, _steps.piece < 0)
        rows = [codec.step_row_of(row) for row in conn.execute(query.order_by(_steps.kind, _steps.target))]
        whole = [structs.replace(row, result=None) if row.step.kind in _GONE else row for row in rows]
        record = msgspec.json.encode([*whole, *_grouped(conn, run)]).decode()
        sql.insert_new(conn, tables.folded_steps, [{"run": run, "steps": record}])
    return sql.change_some(conn, delete(tables.steps), _steps.run == run, most=most)


def _grouped(conn: Connection, run: str) -> list[StepRow]:
    """Return a record for all steps of one kind, target, state and host."""
    groups = (_steps.kind, _steps.target, _steps.state, _steps.owner)
    query = select(
        *groups,
        func.count().label("steps"),
        func.sum(_steps.attempts).label("attempts"),
        func.min(_steps.started_at).label("started_at"),
        func.max(_steps.finished_at).label("finished_at"),
        func.sum(_steps.finished_at - _steps.started_at).label("worked"),
        func.min(_steps.error).label("error"),
    )
    rows = conn.execute(query.where(_steps.run == run, _steps.piece >= 0).group_by(*groups).order_by(*groups))
    found: dict[tuple[Any, ...], StepRow] = {}
    for row in (codec.step_group_of(each, run) for each in rows):
        key = (row.step, row.state, row.owner)
        found[key] = _joined(found[key], row) if key in found else row
    return list(found.values())


def _joined(first: StepRow, other: StepRow) -> StepRow:
    began = [row.started_at for row in (first, other) if row.started_at is not None]
    ended = [row.finished_at for row in (first, other) if row.finished_at is not None]
    return structs.replace(
        first,
        attempts=first.attempts + other.attempts,
        error=first.error or other.error,
        started_at=min(began, default=None),
        finished_at=max(ended, default=None),
        steps=first.steps + other.steps,
        worked=round((first.worked or 0.0) + (other.worked or 0.0), 3),
    )


# -- Reading what was folded ------------------------------------------------------------------------------


def unfolded(run: Any) -> Any:
    """Return what holds of the steps of a run that was not folded: as long as steps are removed, some of one
    that was are still there."""
    return ~exists().where(_folded.run == run)


def rows_of(conn: Connection, run: str) -> list[StepRow]:
    """Return the records of a run's folded steps; none if they were not folded."""
    text = conn.execute(select(_folded.steps).where(_folded.run == run)).scalar()
    return [] if text is None else codec.folded_of(text, run)


def tally_of(conn: Connection, run: str) -> Tally:
    """Count the folded steps of a run."""
    counts: dict[tuple[StepKind, str, StepState], int] = {}
    for row in rows_of(conn, run):
        key = (row.step.kind, row.step.target, row.state)
        counts[key] = counts.get(key, 0) + row.steps
    return Tally(counts)


def forget(conn: Connection, run: str) -> bool:
    """Forget the record of a run's steps; tell whether there was one."""
    gone = delete(tables.folded_steps).where(_folded.run == run).returning(_folded.run)
    return conn.execute(gone).first() is not None
