"""What a step costs: the state must never be what a backup waits for.

The budget is 6 ms for claiming and finishing a step on SQLite, of which two commits to a
local disk take up to 2. Processor time is what is measured, and the commits are counted:
a test that reads the clock would fail whenever something else is busy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from strongroom.state.records import StepKind, Verdict
from strongroom.state.store import RunStore
from tests.state.pipeline import capture, claimed, decide, new_run, take, upload


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[RunStore, str]]:
    """A run of 200 pieces on three targets: 800 steps, on SQLite with synchronous FULL."""
    store = RunStore(f"sqlite:///{tmp_path}/state.db")
    steps = [upload(piece, target) for piece in range(200) for target in ("a", "b", "c")]
    run = new_run(store, steps + [capture(piece) for piece in range(200)])
    yield store, run.id
    store.close()


def cost(action: Callable[[], object], times: int) -> float:
    """The median processor time of an action, in milliseconds."""
    taken = []
    for _ in range(times):
        started = time.thread_time()
        action()
        taken.append((time.thread_time() - started) * 1000)
    return statistics.median(taken)


def test_claiming_and_finishing_a_step_stay_within_6_ms(large: tuple[RunStore, str]) -> None:
    store, run = large
    tickets = iter(take(store, run))
    result = {"sha256": "0" * 64, "size": 33554432, "secrets": 50000, "versions": 50000}

    def step() -> None:
        store.finish(claimed(store, next(tickets)), result, lambda *_: Verdict())

    assert cost(step, 200) <= 4


def test_a_step_costs_two_commits(large: tuple[RunStore, str]) -> None:
    store, run = large
    (ticket, *_) = take(store, run)
    commits: list[object] = []
    event.listen(store._database.engine, "commit", commits.append)
    store.finish(claimed(store, ticket), {}, lambda *_: Verdict())
    assert len(commits) == 2


def test_a_tally_of_800_steps_stays_within_1_ms(large: tuple[RunStore, str]) -> None:
    store, run = large
    for ticket in take(store, run)[:300]:
        store.finish(claimed(store, ticket), {"note": "x" * 500}, lambda *_: Verdict())
    assert store.tally(run).of(StepKind.UPLOAD) == 600
    assert cost(lambda: store.tally(run), 50) <= 1


def test_a_reconcile_with_nothing_to_do_does_not_grow_with_runs_that_ended(tmp_path: Path) -> None:
    store = RunStore(f"sqlite:///{tmp_path}/state.db")
    before = cost(lambda: store.reconcile(decide), 20)
    for _ in range(30):
        run = new_run(store, [upload(piece) for piece in range(100)])
        take(store, run)
        store.cancel(run.id)
        (report,) = take(store, run)
        store.finish(claimed(store, report), {}, decide)
    assert cost(lambda: store.reconcile(decide), 20) <= 2 * before + 0.5
    store.close()
