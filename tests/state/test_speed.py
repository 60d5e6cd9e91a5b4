"""What a step costs: the state must never be what a backup waits for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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


def median(action: Callable[[], object], times: int) -> float:
    """The median time of an action, in milliseconds."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def test_claiming_and_finishing_a_step_take_6_ms_together(large: tuple[RunStore, str]) -> None:
    store, run = large
    tickets = iter(take(store, run))
    result = {"sha256": "0" * 64, "size": 33554432, "secrets": 50000, "versions": 50000}

    def step() -> None:
        store.finish(claimed(store, next(tickets)), result, lambda *_: Verdict())

    assert median(step, 200) <= 6


def test_a_tally_of_800_steps_takes_1_ms(large: tuple[RunStore, str]) -> None:
    store, run = large
    for ticket in take(store, run)[:300]:
        store.finish(claimed(store, ticket), {"note": "x" * 500}, lambda *_: Verdict())
    assert store.tally(run).of(StepKind.UPLOAD) == 600
    assert median(lambda: store.tally(run), 50) <= 1


def test_a_reconcile_with_nothing_to_do_does_not_grow_with_runs_that_ended(tmp_path: Path) -> None:
    store = RunStore(f"sqlite:///{tmp_path}/state.db")
    for _ in range(30):
        run = new_run(store, [upload(piece) for piece in range(100)])
        take(store, run)
        store.cancel(run.id)
        (report,) = take(store, run)
        store.finish(claimed(store, report), {}, decide)
    assert median(lambda: store.reconcile(decide), 20) <= 5
    store.close()
