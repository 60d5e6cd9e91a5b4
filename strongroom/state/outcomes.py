"""Recording what came of a step, and what that leads to: one transaction each.

Ending early. When a step is poisoned, a verdict fails the run, or a person cancels it, the
run is *closing*: nothing but REPORT may start any more; what had not started is MISSED;
and once nothing runs, the REPORT step is inserted, whose outcome makes the run final. So
the sweep that REPORT does finds nobody still writing, and every run that has begun ends
through one door.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from msgspec import structs
from sqlalchemy import Connection, Double, bindparam, case, delete, exists, or_, select, update

from strongroom.errors import UsageError
from strongroom.state import catalog, codec, folding, runs, sql, tables
from strongroom.state.errors import ClaimLost, StillNeeded
from strongroom.state.records import (
    Claim,
    Decide,
    DecideAgain,
    Needed,
    Run,
    RunKind,
    RunState,
    RunStep,
    StepConsequence,
    StepKind,
    StepRange,
    StepState,
    Tally,
    Ticket,
)
from strongroom.state.sql import SLICE

_steps = tables.steps.c
_REPORT = RunStep(StepKind.REPORT)


def finish(
    conn: Connection, claim: Claim, result: Mapping[str, Any], decide: Decide, *, window: int | None
) -> tuple[Run, list[Ticket] | None]:
    """Record success; see :meth:`strongroom.state.store.RunStore.finish`. What is due is ``None`` where it
    takes another transaction to say it."""
    run = runs.lock(conn, claim.ticket.run)
    ready: Collection[StepKind] = runs.ALL_KINDS
    if _settle(conn, claim, StepState.DONE, result=codec.encode(result)):
        tally = runs.tally(conn, run.id)
        verdict = decide(run, tally, claim.ticket.step)
        run = _apply(conn, run, claim.ticket.step, verdict)
        if not run.closing:
            before = {kind for kind, _, state in tally.counts if state is StepState.READY}
            ready = before | {step.kind for step in verdict.follow}
    if window is None:
        return run, []
    large = bool(run.unmade) or (run.closing and not run.state.final)
    return run, None if large else runs.give_out(conn, run, window=window, kinds=ready)


def fail(
    conn: Connection,
    claim: Claim,
    error: str,
    *,
    retry_in: float | None,
    settle: StepState | None,
    decide: Decide,
    unless: Needed | None = None,
) -> tuple[Run, Tally]:
    """Record failure; see :meth:`strongroom.state.store.RunStore.fail`."""
    run = runs.lock(conn, claim.ticket.run)
    step = claim.ticket.step
    again = retry_in is not None and (not run.closing or step.kind is StepKind.REPORT)
    if unless is not None and not again and unless(run, runs.tally(conn, run.id)):
        raise StillNeeded
    state = StepState.READY if again else settle or StepState.MISSED
    if not _settle(conn, claim, state, error=error, wait=min(retry_in or 0.0, runs.FARTHEST)):
        return run, runs.tally(conn, run.id)
    catalog.append(conn, "step.failed", run.id, {"step": str(step), "attempt": claim.attempt, "error": error})
    if again:
        return run, runs.tally(conn, run.id)
    return give_up(conn, run, step, state=state, error=error, decide=decide)


def wait(conn: Connection, claim: Claim, error: str, *, pause: float, patience: float) -> bool:
    """Let a step wait; see :meth:`strongroom.state.store.RunStore.wait`."""
    run = runs.lock(conn, claim.ticket.run)
    given = {"new_error": error, "pause": min(pause, runs.FARTHEST), "patience": patience}
    if run.closing or conn.execute(_WAIT, runs.held_by(claim) | given).first() is None:
        return False
    # Its like wait with it: each would meet the same, and a capture reads its source for that. Those that
    # would go out next, that is: of a very large run not all of them in one transaction.
    step, until = claim.ticket.step, sql.now() + given["pause"]
    sql.change_some(
        conn,
        update(tables.steps).values(not_before=until),
        *(_steps.run == run.id, tables.UNSETTLED, _steps.state == StepState.READY.value),
        *(_steps.kind == step.kind.value, _steps.target == step.target, _steps.not_before < until),
        most=SLICE,
        order_by=[_steps.piece],
    )
    return True


# A time in the future is none: the row was edited, or the clock set back. It must not wait for ever.
_WAITS_NOT: Final = or_(_steps.waits_since.is_(None), _steps.waits_since > sql.now() + runs.AHEAD)
_PATIENT: Final = or_(_WAITS_NOT, _steps.waits_since > sql.now() - bindparam("patience", type_=Double))
_UNTIL: Final = sql.now() + bindparam("pause", type_=Double)

# The attempt is given back: a full disk says nothing of the step.
_WAIT: Final = (
    update(tables.steps)
    .where(runs.HELD, _PATIENT)
    .values(
        state=StepState.READY.value,
        error=bindparam("new_error"),
        attempts=_steps.attempts - 1,
        silent=0,
        not_before=_UNTIL,
        lease_expires=None,
        waits_since=case((_WAITS_NOT, sql.now()), else_=_steps.waits_since),
    )
    .returning(_steps.run)
)


def _settle(
    conn: Connection,
    claim: Claim,
    state: StepState,
    *,
    result: str | None = None,
    error: str | None = None,
    wait: float = 0.0,
) -> bool:
    """Record what became of a held step; ``False`` if this very claim has done so before,
    and the answer was lost.

    Raises:
        ClaimLost: another took the step over, or the run has ended.
    """
    outcome = {"new_state": state.value, "new_result": result, "new_error": error, "wait": wait}
    if conn.execute(_SETTLE, runs.held_by(claim) | outcome).first() is not None:
        return True
    row = conn.execute(_STANDS, runs.at(claim.ticket.run, claim.ticket.step)).first()
    if row is None or (row.dispatch, row.fence) != (claim.ticket.dispatch, claim.fence):
        raise ClaimLost(f"another worker holds {claim.ticket.step} of run {claim.ticket.run} now")
    if row.state == StepState.RUNNING.value:
        raise runs.unkept(claim.ticket.run, claim.ticket.step)
    if row.state != StepState.DONE.value:
        raise ClaimLost(f"the lease on {claim.ticket.step} of run {claim.ticket.run} has ended")
    return False


_SETTLE: Final = (
    update(tables.steps)
    .where(runs.HELD)
    .values(
        state=bindparam("new_state"),
        result=bindparam("new_result"),
        error=bindparam("new_error"),
        silent=0,
        not_before=sql.now() + bindparam("wait", type_=Double),
        finished_at=case((bindparam("new_state") != StepState.READY.value, sql.now())),
        lease_expires=None,
    )
    .returning(_steps.run)
)

_STANDS: Final = select(_steps.state, _steps.dispatch, _steps.fence).where(runs.STEP)


def give_up(
    conn: Connection, run: Run, step: RunStep, *, state: StepState, error: str, decide: Decide
) -> tuple[Run, Tally]:
    """Draw the consequence of a step settled as MISSED or POISONED, the run's row locked."""
    if step.kind is StepKind.REPORT:
        run = finalise(conn, run, RunState.FAILED, f"{step}: {error}")
    elif run.closing:
        _report_when_idle(conn, run)
    elif state is StepState.POISONED:
        run = close(conn, run, RunState.FAILED, f"{step}: {error}")
    else:
        return _conclude(conn, run, step, decide)
    return run, runs.tally(conn, run.id)


def _conclude(conn: Connection, run: Run, step: RunStep, decide: Decide) -> tuple[Run, Tally]:
    """Ask what a settled step leads to, and record that too, the run's row locked."""
    tally = runs.tally(conn, run.id)
    return _apply(conn, run, step, decide(run, tally, step)), tally


def _apply(conn: Connection, run: Run, step: RunStep, verdict: StepConsequence) -> Run:
    if verdict.facts:
        run = structs.replace(run, facts={**run.facts, **verdict.facts})
        runs.change(conn, run.id, facts=run.facts)
    if run.closing and step.kind is not StepKind.REPORT:
        _report_when_idle(conn, run)
        return run
    if run.closing:
        return finalise(conn, run, RunState.FAILED, None)
    if verdict.state is None or not verdict.state.final:
        run = _follow(conn, run, verdict.follow)
        wake(conn, run.id, verdict.wake)
        return run
    early = verdict.state in (RunState.FAILED, RunState.CANCELLED) and step.kind is not StepKind.REPORT
    return (close if early else finalise)(conn, run, verdict.state, verdict.error)


# A run of very many containers. What follows from its plan, or its commit, is more than one transaction may
# insert while all others wait; so is what ends with it. The first slice is one transaction with the outcome
# itself, and the run's row says what is left: the rest goes by :func:`go_on`, a slice a transaction. Nothing
# of the run is given out before, or what counts its steps would take some for all. Who is killed in between
# leaves it to whoever asks next what is due, which a reconcile does for each run that has a step ready.


def _follow(conn: Connection, run: Run, steps: Sequence[RunStep]) -> Run:
    """Insert what follows, or the first slice of it."""
    runs.insert_steps(conn, run.id, steps[:SLICE])
    if len(steps) <= SLICE:
        return run
    return _leave(conn, run, (*run.unmade, *StepRange.of(steps[SLICE:])))


def _leave(conn: Connection, run: Run, unmade: tuple[StepRange, ...]) -> Run:
    runs.change(conn, run.id, unmade=codec.encode(unmade) if unmade else None)
    return structs.replace(run, unmade=unmade)


def take_ready(conn: Connection, run_id: str, *, window: int) -> list[Ticket] | None:
    """Give out what is due of a run; ``None`` if there is more to do before, and this did a slice of it."""
    run = runs.lock(conn, run_id)
    return None if go_on(conn, run) else runs.give_out(conn, run, window=window)


def go_on(conn: Connection, run: Run) -> bool:
    """Do the next slice of what is left of a very large run, its row locked; tell whether there may be
    more."""
    if run.state.final:
        return False
    if run.closing:
        if _drop(conn, run, run.error, StepState.READY, StepState.SENT) >= SLICE:
            return True
        _report_when_idle(conn, run)
        return False
    if not run.unmade:
        return False
    now: list[RunStep] = []
    later, room = list(run.unmade), SLICE
    while later and room > 0:
        first, rest = later[0].split(min(room, later[0].count))
        now += first.steps()
        room -= first.count
        later[:1] = [rest] if rest.count else []
    runs.insert_steps(conn, run.id, now)
    _leave(conn, run, tuple(later))
    return True


def wake(conn: Connection, run: str, kinds: Sequence[StepKind]) -> None:
    """End the pause of a run's steps that are to be tried again."""
    if not kinds:
        return
    asleep = (_steps.state == StepState.READY.value, _steps.not_before > sql.now())
    conn.execute(
        update(tables.steps)
        .where(_steps.run == run, tables.UNSETTLED, *asleep)
        .where(_steps.kind.in_([kind.value for kind in kinds]))
        .values(not_before=0.0)
    )


def close(conn: Connection, run: Run, ending: RunState, error: str | None) -> Run:
    """Begin to end a run early, its row locked. The first reason given stays."""
    if not run.closing:
        run = structs.replace(
            run,
            closing=True,
            queued=False,
            facts={**run.facts, "ending": ending.value, "error": error},
            error=error,
            unmade=(),
        )
        runs.change(conn, run.id, closing=True, facts=run.facts, error=error, queued=False, unmade=None)
        catalog.append(conn, "run.closing", run.id, {"ending": ending.value, "error": error})
    # Each time: a step that was left out, or edited since, would keep the run from ending for ever.
    go_on(conn, run)
    return run


def _drop(conn: Connection, run: Run, error: str | None, *states: StepState) -> int:
    """Settle a slice of the steps that have not been settled, REPORT aside, as MISSED; return how many."""
    missed = {"state": StepState.MISSED.value, "error": error, "lease_expires": None}
    return sql.change_some(
        conn,
        update(tables.steps).values(**missed, finished_at=sql.now()),
        *(_steps.run == run.id, tables.UNSETTLED, _steps.kind != StepKind.REPORT.value),
        _steps.state.in_([state.value for state in states]),
        most=SLICE,
    )


def _report_when_idle(conn: Connection, run: Run) -> None:
    busy = exists().where(_steps.run == run.id, tables.UNSETTLED, _steps.kind != StepKind.REPORT.value)
    if not conn.execute(select(busy)).scalar():
        runs.insert_steps(conn, run.id, [_REPORT])


def finalise(conn: Connection, run: Run, state: RunState, error: str | None) -> Run:
    """End a run for good. A run that was closing ends as it began to, whatever the report says."""
    if run.closing:
        state, error = RunState(run.facts["ending"]), run.facts["error"]
    moment: float = conn.execute(select(sql.now())).scalar_one()
    unsettled = (StepState.READY, StepState.SENT, StepState.RUNNING)
    # A report comes when nearly none is left.
    while _drop(conn, run, "the run had ended", *unsettled) >= SLICE:
        pass
    # Whether a backup's run leaves something: its report says so, or it never had one.
    report = run.facts.get("report")
    runs.change(
        conn,
        run.id,
        state=state.value,
        error=error,
        finished_at=moment,
        remains=run.spec.kind is RunKind.BACKUP and (report is None or bool(report.get("unswept"))),
    )
    catalog.append(conn, "run.finished", run.id, {"state": state.value, "error": error})
    return structs.replace(run, state=state, error=error, finished_at=moment)


def cancel(conn: Connection, run_id: str, error: str) -> Run:
    """Begin to cancel a run; see :meth:`strongroom.state.store.RunStore.cancel`."""
    run = runs.lock(conn, run_id)
    if run.state.final or has_reported(conn, run_id):
        return run
    return close(conn, run, RunState.CANCELLED, error)


def has_reported(conn: Connection, run_id: str) -> bool:
    """Whether the run's last step exists, in whatever state."""
    return conn.execute(_STANDS, runs.at(run_id, _REPORT)).first() is not None


def forget(conn: Connection, run_id: str) -> bool:
    """Remove a slice of the steps of a failed run that is to start over; tell whether there may be more.

    Who is killed in between leaves a failed run, and it is retried as before."""
    if runs.lock(conn, run_id).state is not RunState.FAILED:
        return False
    return sql.change_some(conn, delete(tables.steps), _steps.run == run_id, most=SLICE) >= SLICE


def retry(
    conn: Connection, run_id: str, decide: DecideAgain, first: Sequence[RunStep], *, queued: bool
) -> Run:
    """Take a failed run up again; see :meth:`strongroom.state.store.RunStore.retry`."""
    run = runs.lock(conn, run_id)
    if run.state is not RunState.FAILED:
        raise UsageError(
            f"run {run_id} is {run.state.value}; only a failed run can be retried",
            hint="Submit a new run. 'strongroom runs cancel' ends one whose process is gone, with what it "
            "left.",
        )
    if folding.forget(conn, run_id) and not first:
        raise UsageError(f"run {run_id} ended long ago; what it had done is not known any more step by step")
    again = delete(tables.steps).where(_steps.run == run_id)
    conn.execute(again if first else again.where(_steps.kind == StepKind.REPORT.value))
    runs.insert_steps(conn, run_id, first)
    _make_ready_again(conn, run_id)
    facts = {key: value for key, value in run.facts.items() if key not in ("ending", "error")}
    runs.change(
        conn,
        run_id,
        state=RunState.ACTIVE.value,
        closing=False,
        facts=facts,
        error=None,
        finished_at=None,
        queued=queued,
        folded=False,
        unmade=None,
    )
    catalog.append(conn, runs.RETRIED, run_id, {"restarted": bool(first)})
    return _ask_again(conn, runs.load(conn, run_id), decide)


def _ask_again(conn: Connection, run: Run, decide: DecideAgain) -> Run:
    """Insert what done steps lead to: what ended while the run was closing led to nothing."""
    tally = runs.tally(conn, run.id)
    for row in runs.rows(conn, run.id):
        if row.state is StepState.DONE and not run.closing:
            run = _apply(conn, run, row.step, decide(run, tally, row.step, row.result or {}))
    return run


def _make_ready_again(conn: Connection, run_id: str) -> None:
    given_up = (StepState.MISSED.value, StepState.POISONED.value)
    conn.execute(
        update(tables.steps)
        .where(_steps.run == run_id, _steps.state.in_(given_up))
        .values(
            state=StepState.READY.value,
            attempts=0,
            silent=0,
            sends=0,
            not_before=0.0,
            error=None,
            finished_at=None,
            waits_since=None,
        )
    )
