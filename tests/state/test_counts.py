"""Counting runs and what waits, over all of the record."""

from __future__ import annotations

import time

from sqlalchemy import text

from strongroom.state.records import RunKind, RunState, StepKind, StepState
from strongroom.state.store import RunStore
from tests.state.pipeline import PLAN, SPEC, capture, claimed, decide, decide_again, new_run, take, work_off


def fail(store: RunStore) -> str:
    """Make a run that failed; return its id."""
    run = new_run(store, [capture(0)])
    (ticket,) = take(store, run)
    store.fail(claimed(store, ticket), "it is gone", settle=StepState.POISONED, decide=decide)
    return work_off(store, run).id


def counted(store: RunStore, *, since: float = 0.0) -> dict[RunState, tuple[int, int, int]]:
    found = store.counts(since=since)
    assert {(one.policy, one.kind) for one in found} <= {(SPEC.policy, RunKind.BACKUP)}
    return {one.state: (one.runs, one.retries, one.failures) for one in found}


def test_runs_are_counted_by_state_with_each_failure_also_of_those_taken_up_again(store: RunStore) -> None:
    assert counted(store) == {}
    work_off(store, new_run(store))
    failed = fail(store)
    fail(store)
    assert counted(store) == {RunState.DONE: (1, 0, 0), RunState.FAILED: (2, 0, 2)}
    store.retry(failed, decide_again)
    assert counted(store)[RunState.ACTIVE] == (1, 1, 1)
    assert sum(failures for *_, failures in counted(store).values()) == 2, "a retry takes none back"
    assert counted(store, since=time.time() + 3600) == {}


def test_an_odd_row_hides_none_of_the_others(store: RunStore) -> None:
    work_off(store, new_run(store))
    odd = new_run(store)
    with store._database.writing() as conn:
        conn.execute(text("UPDATE runs SET kind = 'odd' WHERE id = :id"), {"id": odd.id})
    assert counted(store) == {RunState.DONE: (1, 0, 0)}


def test_steps_that_have_not_ended_are_counted_with_the_oldest(store: RunStore) -> None:
    assert store.waiting() == []
    run = new_run(store, [PLAN, capture(0), capture(1)])
    began, tickets = run.created_at, take(store, run, window=1)
    claimed(store, next(ticket for ticket in tickets if ticket.step == PLAN))
    found = {(one.kind, one.state): (one.steps, one.since) for one in store.waiting()}
    assert {key: steps for key, (steps, _) in found.items()} == {
        (StepKind.PLAN, StepState.RUNNING): 1,
        (StepKind.CAPTURE, StepState.SENT): 1,
        (StepKind.CAPTURE, StepState.READY): 1,
    }
    assert found[StepKind.CAPTURE, StepState.READY][1] == began, "due since its run was made"
    assert all(began <= since <= time.time() + 1 for _, since in found.values())
    store.cancel(run.id)
    assert all(one.kind is not StepKind.CAPTURE for one in store.waiting())
