"""A run of very many containers: no transaction of it is long, and whoever is killed between two of them
leaves nothing that the next one does not finish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from strongroom.state import outcomes, runs, sql, tables
from strongroom.state.records import Run, RunState, RunStep, StepConsequence, StepKind, StepRange, StepState
from strongroom.state.store import RunStore
from tests.state.pipeline import PLAN, REPORT, TARGETS, capture, claimed, new_run, take

SLICE = 4
PIECES = 5
READINGS = tuple(RunStep(StepKind.VERIFY, piece, target) for target in TARGETS for piece in range(PIECES))


class Killed(BaseException):
    """What a process dies of here, between two transactions."""


@pytest.fixture(autouse=True)
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "SLICE", SLICE)
    monkeypatch.setattr(sql, "SLICE", SLICE)


@contextmanager
def killed_after(store: RunStore, transactions: int) -> Iterator[list[int]]:
    """Die after so many transactions; give how many rows each of them wrote to the steps."""
    written = [0]

    def executed(_conn: object, cursor: Any, statement: str, *_more: object) -> None:
        if statement.startswith(("UPDATE steps", "INSERT INTO steps", "DELETE FROM steps")):
            written[-1] += max(cursor.rowcount, 0)

    def begun(_conn: object) -> None:
        if len(written) > transactions:
            raise Killed
        written.append(0)

    engine = store._database.engine
    event.listen(engine, "after_cursor_execute", executed)
    event.listen(engine, "begin", begun)
    try:
        yield written
    except Killed:
        pass
    finally:
        event.remove(engine, "after_cursor_execute", executed)
        event.remove(engine, "begin", begun)


def steps_of(store: RunStore, run: Run) -> dict[StepState, int]:
    with store._database.reading() as conn:
        state = tables.steps.c.state
        query = select(state, func.count()).where(tables.steps.c.run == run.id).group_by(state)
        return {StepState(name): many for name, many in conn.execute(query)}


def begin(store: RunStore) -> Run:
    """Return a run whose commit is about to end: three times as many steps follow as it has containers."""
    run = new_run(store, [RunStep(StepKind.COMMIT)])
    (ticket,) = take(store, run)
    claim = claimed(store, ticket)
    store.finish(claim, {}, lambda *_: StepConsequence(follow=READINGS), window=100)
    return store.load(run.id)


def test_ranges_say_which_steps_there_are() -> None:
    mixed = (*READINGS, PLAN, capture(3), capture(5), capture(6), *READINGS[2:4])
    ranges = StepRange.of(mixed)
    assert len(ranges) == len(TARGETS) + 4
    assert tuple(step for each in ranges for step in each.steps()) == mixed
    assert StepRange.of(()) == []
    first, rest = ranges[0].split(4)
    assert (*first.steps(), *rest.steps()) == tuple(ranges[0].steps())


def test_no_transaction_is_longer_than_a_slice_and_nothing_goes_out_before_all_is_there(
    store: RunStore,
) -> None:
    run = new_run(store, [PLAN])
    claim = claimed(store, take(store, run)[0])
    with killed_after(store, 10**6) as written:
        _, tickets = store.finish(claim, {}, lambda *_: StepConsequence(follow=READINGS), window=100)
    assert len(tickets) == len(READINGS), "one transaction gives out, and that one inserts nothing"
    assert sum(many > 1 for many in written) >= len(READINGS) // SLICE
    assert max(written[:-1]) <= SLICE + 1  # the step itself ends in the first
    assert steps_of(store, run) == {StepState.DONE: 1, StepState.SENT: len(READINGS)}


CUTS = -(-len(READINGS) // SLICE)


@pytest.mark.parametrize("after", range(CUTS + 1))
def test_a_kill_between_any_two_slices_of_what_follows_is_made_good_by_a_reconcile(
    store: RunStore, after: int
) -> None:
    run = new_run(store, [PLAN])
    claim = claimed(store, take(store, run)[0])
    with killed_after(store, after):
        store.finish(claim, {}, lambda *_: StepConsequence(follow=READINGS), window=100)
    stands = steps_of(store, run)
    if after:
        assert stands.pop(StepState.DONE) == 1
        assert stands == {StepState.READY: min(after * SLICE, len(READINGS))}, "nothing was given out"
        with store._database.writing() as conn:
            given = runs.give_out(conn, runs.lock(conn, run.id), window=100) if after < CUTS else []
        assert given == [], "nor is it while more is to come"
        assert store.reconcile(lambda *_: StepConsequence()) == [run.id]
        tickets = take(store, run)
    else:
        assert stands == {StepState.RUNNING: 1}, "nothing of it is on record"
        _, tickets = store.finish(claim, {}, lambda *_: StepConsequence(follow=READINGS), window=100)
    assert sorted(ticket.step for ticket in tickets) == sorted(READINGS)
    assert store.load(run.id).unmade == ()


@pytest.mark.parametrize("after", range(CUTS + 2))
@pytest.mark.parametrize("by", ["cancel", "failure"])
def test_a_kill_between_any_two_slices_of_an_early_end_leaves_a_run_that_ends(
    store: RunStore, by: str, after: int
) -> None:
    run = begin(store)
    claim = claimed(store, take_again(store, run)[0]) if by == "failure" else None

    def end() -> None:
        if claim is None:
            store.cancel(run.id)
        else:
            store.fail(claim, "x", settle=StepState.POISONED, decide=lambda *_: StepConsequence())
            take(store, run)

    with killed_after(store, after) as written:
        end()
    assert max(written) <= SLICE + 1
    assert store.load(run.id).closing is bool(after)
    if not after:
        end()
    sent = [ticket.step for ticket in take(store, run)]
    assert sent in ([REPORT], []), "nothing but the report goes out of a run that ends"
    report = claimed(store, take_again(store, run)[0])
    ended, _ = store.finish(report, {}, lambda *_: StepConsequence(state=RunState.DONE), window=100)
    assert ended.state in (RunState.CANCELLED, RunState.FAILED)
    assert set(steps_of(store, run)) <= {StepState.DONE, StepState.MISSED, StepState.POISONED}


def take_again(store: RunStore, run: Run) -> list[Any]:
    """Take what was given out already, as if its messages were lost."""
    with store._database.writing() as conn:
        sent = (tables.steps.c.run == run.id) & (tables.steps.c.state == "sent")
        conn.execute(update(tables.steps).where(sent).values(state="ready"))
    return take(store, run)


@pytest.mark.parametrize("after", range(CUTS + 2))
def test_a_kill_between_any_two_slices_of_a_retry_leaves_a_failed_run_that_is_retried(
    store: RunStore, after: int
) -> None:
    run = begin(store)
    store.fail(
        claimed(store, take_again(store, run)[0]),
        "x",
        settle=StepState.POISONED,
        decide=lambda *_: StepConsequence(),
    )
    take(store, run)
    report = claimed(store, take_again(store, run)[0])
    store.finish(report, {}, lambda *_: StepConsequence(state=RunState.FAILED), window=100)
    with killed_after(store, after) as written:
        store.retry(run.id, lambda *_: StepConsequence(), first=[PLAN])
    assert max(written) <= SLICE + 1
    if store.load(run.id).state is RunState.FAILED:
        store.retry(run.id, lambda *_: StepConsequence(), first=[PLAN])
    assert steps_of(store, run) == {StepState.READY: 1}
    assert [ticket.step for ticket in take(store, run)] == [PLAN]


def test_what_a_dead_process_was_given_is_taken_back_a_slice_a_transaction(store: RunStore) -> None:
    run = begin(store)
    assert steps_of(store, run)[StepState.SENT] == len(READINGS)
    with killed_after(store, 10**6) as written:
        store.forsake(run.id, owners=())
    assert max(written) == SLICE
    assert steps_of(store, run)[StepState.READY] == len(READINGS)


def test_a_run_that_is_cancelled_while_more_was_to_come_gets_no_more(store: RunStore) -> None:
    run = new_run(store, [PLAN])
    claim = claimed(store, take(store, run)[0])
    with killed_after(store, 2):
        store.finish(claim, {}, lambda *_: StepConsequence(follow=READINGS), window=100)
    assert store.load(run.id).unmade
    store.cancel(run.id)
    assert store.load(run.id).unmade == ()
    assert [ticket.step for ticket in take(store, run)] == [REPORT]
    assert sum(steps_of(store, run).values()) == 2 * SLICE + 2


@pytest.mark.parametrize("odd", ["", "{", "[1]", '[["verify","a",0,-3]]', '[["sorcery","a",0,3]]'])
def test_an_edited_remainder_is_named_and_keeps_no_other_run_from_going_on(store: RunStore, odd: str) -> None:
    edited, whole = new_run(store), new_run(store)
    with store._database.writing() as conn:
        conn.execute(update(tables.runs).where(tables.runs.c.id == edited.id).values(unmade=odd))
    assert store.unreadable() == [f"the state database holds an unreadable run {edited.id}"]
    assert whole.id in store.reconcile(lambda *_: StepConsequence())
    assert [ticket.step for ticket in take(store, whole)] == [PLAN]


KILLED = """
import os, signal, sys
from strongroom.state import outcomes
from strongroom.state.records import RunStep, StepConsequence, StepKind
from strongroom.state.store import RunStore
from sqlalchemy import event

url, run, dispatch, after = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
outcomes.SLICE = 50
from strongroom.state.records import Ticket
store = RunStore(url)
claim = store.claim(Ticket(run, RunStep(StepKind.PLAN), dispatch), owner="dies")
commits = 0
def committed(_conn):
    global commits
    commits += 1
    if commits == after:
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(store._database.engine, "begin", committed)
follow = tuple(RunStep(StepKind.CAPTURE, piece) for piece in range(1000))
store.finish(claim, {}, lambda *_: StepConsequence(follow=follow), window=100)
"""


def test_a_process_that_is_killed_for_good_leaves_its_rest_to_another(store: RunStore, url: str) -> None:
    run = new_run(store, [PLAN])
    (ticket,) = take(store, run)
    words = [sys.executable, "-c", KILLED, url, run.id, str(ticket.dispatch), "8"]
    died = subprocess.run(words, env=os.environ, check=False)
    assert died.returncode == -signal.SIGKILL
    left = store.load(run.id)
    assert left.unmade
    assert store.reconcile(lambda *_: StepConsequence()) == [run.id]
    assert len(store.take_ready(run.id, window=100)) == 100
    assert sum(steps_of(store, run).values()) == 1001
