"""What a step costs: the state must never be what a backup waits for.

A test that reads the clock fails whenever something else is busy. So what is counted is what
costs: commits, which wait for the disk, and instructions of SQLite's virtual machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from strongroom.state import recovery, runs
from strongroom.state.records import RunKind, RunStep, StepConsequence, StepKind, Ticket
from strongroom.state.store import RunStore
from tests.state.pipeline import capture, claimed, decide, new_run, take, upload
from tests.state.test_catalog import entry, replica

UNIT = 10
"""Instructions between two counts."""


class Work:
    """Counts the instructions that a store's statements take."""

    def __init__(self, store: RunStore) -> None:
        self._units = 0
        event.listen(store._database.engine, "checkout", self._count)

    def of(self, action: Callable[[], object]) -> int:
        before = self._units
        action()
        return (self._units - before) * UNIT

    def _count(self, connection: object, *_: object) -> None:
        connection.set_progress_handler(self._one, UNIT)  # type: ignore[attr-defined]

    def _one(self) -> int:
        self._units += 1
        return 0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    """A store on SQLite with synchronous FULL."""
    store = RunStore(f"sqlite:///{tmp_path}/state.db")
    yield store
    store.close()


def pieces(store: RunStore, count: int) -> str:
    """Make a run of so many pieces on three targets: four steps each."""
    steps = [upload(piece, target) for piece in range(count) for target in ("a", "b", "c")]
    return new_run(store, steps + [capture(piece) for piece in range(count)]).id


def test_a_step_costs_no_more_than_one_look_at_an_index_of_its_own_run(store: RunStore) -> None:
    result = {"sha256": "0" * 64, "size": 33554432, "secrets": 50000, "versions": 50000}
    for _ in range(5):
        take(store, pieces(store, 200))  # other runs, which cost nothing
    (ticket, *_) = take(store, pieces(store, 200))
    cost = Work(store).of(lambda: store.finish(claimed(store, ticket), result, lambda *_: StepConsequence()))
    assert 0 < cost <= 20 * 800


def test_a_step_costs_two_commits(store: RunStore) -> None:
    (ticket, *_) = take(store, pieces(store, 200))
    commits: list[object] = []
    event.listen(store._database.engine, "commit", commits.append)
    store.finish(claimed(store, ticket), {}, lambda *_: StepConsequence(), window=8)
    assert len(commits) == 2


def test_a_step_costs_seven_statements_and_four_more_where_something_follows(store: RunStore) -> None:
    """Of claiming it, recording what came of it and giving out what is due: the beginnings of two
    transactions among them. A million secrets are some hundred steps, a billion are 65,000."""
    asked: list[str] = []
    event.listen(
        store._database.engine, "before_cursor_execute", lambda *given: asked.append(given[2].split()[0])
    )
    (first, second, *_) = take(store, new_run(store, [upload(0), capture(0), capture(1)]))
    asked.clear()
    store.finish(claimed(store, first), {}, lambda *_: StepConsequence(), window=8)
    assert len(asked) == 7, asked
    asked.clear()
    store.finish(claimed(store, second), {}, lambda *_: StepConsequence(follow=(upload(1),)), window=8)
    assert len(asked) == 7 + 4, asked


def test_a_tally_reads_no_results(store: RunStore) -> None:
    """Only an index: a result may be long, and the table has it in every row."""
    run = pieces(store, 200)
    for ticket in take(store, run)[:30]:
        store.finish(claimed(store, ticket), {"note": "x" * 500}, lambda *_: StepConsequence())
    assert store.tally(run).of(StepKind.UPLOAD) == 600
    assert 0 < Work(store).of(lambda: store.tally(run)) <= 20 * 800


@pytest.mark.parametrize(
    ("kind", "targets", "second"),
    [
        (StepKind.VERIFY, "ab", [(piece, target) for piece in range(5, 10) for target in "ab"]),
        (StepKind.CAPTURE, [""], [(piece, "") for piece in range(4, 8)]),
    ],
)
def test_to_give_out_what_is_due_costs_no_more_where_more_waits(
    store: RunStore,
    monkeypatch: pytest.MonkeyPatch,
    kind: StepKind,
    targets: Iterable[str],
    second: list[tuple[int, str]],
) -> None:
    monkeypatch.setattr(runs, "MOST", 10)
    work = Work(store)

    def spent(many: int) -> int:
        run = new_run(store, [RunStep(kind, piece, target) for target in targets for piece in range(many)])
        store.take_ready(run.id, window=4)
        tickets: list[Ticket] = []
        instructions = work.of(lambda: tickets.extend(store.take_ready(run.id, window=8)))
        assert [(ticket.step.piece, ticket.step.target) for ticket in tickets] == second
        return instructions

    assert abs(spent(1500) - spent(30)) <= 500


def test_what_is_degraded_or_unfinished_is_found_without_looking_at_all_there_ever_was(
    store: RunStore,
) -> None:
    def fill(numbers: range) -> None:
        for number in numbers:
            name = f"{number:04}"
            store.put_backup(entry(name), [replica(name, "eu"), replica(name, "us", good=number > 0)])

    def ended() -> None:
        run = new_run(store, [upload(0)])
        store.cancel(run.id)
        (report,) = take(store, run)
        verdict = StepConsequence(facts={"report": {"unswept": []}})
        store.finish(claimed(store, report), {}, lambda *_: verdict)

    fill(range(1))
    unfinished = new_run(store, [upload(0)])
    work = Work(store)
    asked = (store.with_bad_replicas, store.active, lambda: store.leaving(unfinished.spec.policy, limit=10))
    few = [work.of(one) for one in asked]
    fill(range(1, 1500))
    for _ in range(30):
        ended()
    many = [work.of(one) for one in asked]
    assert store.with_bad_replicas() == ["0000"]
    assert [run.id for run in store.active()] == [unfinished.id]
    assert all(later <= earlier + 100 for earlier, later in zip(few, many, strict=True)), (few, many)


def test_a_reconcile_with_nothing_to_do_does_not_grow_with_runs_that_ended(store: RunStore) -> None:
    work = Work(store)

    def reconcile() -> int:
        return work.of(lambda: store.reconcile(decide))

    before = reconcile()
    for _ in range(30):
        run = new_run(store, [upload(piece) for piece in range(20)])
        take(store, run)
        store.cancel(run.id)
        (report,) = take(store, run)
        store.finish(claimed(store, report), {}, decide)
    assert 0 < reconcile() <= 2 * before


def test_which_runs_have_nothing_left_to_do_is_found_without_looking_at_all_that_others_have(
    store: RunStore,
) -> None:
    work = Work(store)

    def asked() -> int:
        with store._database.reading() as conn:
            assert recovery._stalled_runs(conn) == [stalled.id]
            return work.of(lambda: recovery._stalled_runs(conn))

    stalled = new_run(store, [])
    new_run(store, [upload(0)])
    few = asked()
    new_run(store, [upload(piece) for piece in range(1500)])
    assert asked() <= few + 100


def test_what_metrics_ask_at_each_scrape_costs_no_more_where_more_is_on_record(store: RunStore) -> None:
    def asked() -> None:
        store.happened("key.checked", since=0.0)
        store.runs_of("daily", RunKind.DRILL, limit=20)

    store.event("key.checked", bad=[])
    before = Work(store).of(asked)
    for _ in range(50):
        new_run(store)
    store.append([("step.failed", {})] * 500)
    assert Work(store).of(asked) <= before + 500
