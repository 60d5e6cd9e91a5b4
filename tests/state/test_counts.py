"""Counting runs and what waits, over all of the record."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import pytest
from sqlalchemy import event, text

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


@pytest.mark.parametrize("kind", ["sqlite"])
def test_what_is_asked_of_all_runs_reads_no_step_that_has_ended(store: RunStore, url: str) -> None:
    """Of ten million ended steps SQLite read each index entry, since that index has the order of kinds.

    PostgreSQL chooses by what it knows of the rows, and has none here.
    """
    work_off(store, new_run(store))
    take(store, new_run(store))
    asked: list[tuple[str, Any]] = []
    engine = store._database.engine

    def ask(_conn: object, _cursor: object, text: str, given: object, *_more: object) -> None:
        asked.append((text, given))

    event.listen(engine, "before_cursor_execute", ask)
    store.waiting()
    store.progress()
    store.reconcile(decide)
    store.queued_kinds()
    plans = []
    with sqlite3.connect(url.removeprefix("sqlite:///")) as conn:
        for text, given in asked:
            if text.startswith("SELECT"):
                plans += [row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {text}", given)]
    scans = {plan for plan in plans if plan.startswith("SCAN steps")}
    assert plans
    assert {plan for plan in scans if "ix_steps_unsettled" not in plan} == set()
