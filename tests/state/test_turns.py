"""Whose turn it is: so many runs of a kind are at work, the oldest begin first, and who only waits yields."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from strongroom.state import tables
from strongroom.state.records import Run, RunKind, RunState, StepKind, StepState, Ticket
from strongroom.state.store import RunStore
from strongroom.state.turns import YIELDS
from tests.state.pipeline import (
    PLAN,
    SPEC,
    claimed,
    decide,
    do,
    let_pass,
    state_of,
    take,
    work_off,
)


def queued(store: RunStore, *policies: str) -> list[Run]:
    """Put a backup of each policy on record, to wait for its turn."""
    runs = [store.create(replace(SPEC, policy=policy), first=[PLAN], queued=True) for policy in policies]
    return [run for run in runs if run is not None]


def begin(store: RunStore, *, most: int = 2) -> list[Ticket]:
    return store.begin_next(RunKind.BACKUP, most=most, window=100, apart=True)


def names(tickets: Sequence[Ticket]) -> list[str]:
    return [ticket.run for ticket in tickets]


def test_so_many_begin_and_the_oldest_first(store: RunStore) -> None:
    runs = queued(store, "a", "b", "c", "d")
    assert all(store.load(run.id).queued for run in runs)
    assert names(begin(store)) == [runs[0].id, runs[1].id]
    assert begin(store) == []
    assert [store.load(run.id).queued for run in runs] == [False, False, True, True]
    assert store.reconcile(decide) == [], "who waits for a turn is nobody's to send"


def test_when_one_has_ended_the_next_begins(store: RunStore) -> None:
    runs = queued(store, "a", "b", "c")
    for ticket in begin(store):
        do(store, ticket)
    assert begin(store) == [], "between two steps a run is at work as well"
    work_off(store, runs[0])
    assert names(begin(store)) == [runs[2].id]


def test_of_a_policy_one_is_at_work_and_keeps_no_other_policy_back(store: RunStore) -> None:
    first, second, other = queued(store, "a", "a", "b")
    assert names(begin(store, most=3)) == [first.id, other.id]
    work_off(store, store.cancel(first.id))
    assert names(begin(store, most=3)) == [second.id]


def test_another_kind_has_turns_of_its_own(store: RunStore) -> None:
    queued(store, "a", "b", "c")
    begin(store)
    drill = store.create(replace(SPEC, kind=RunKind.DRILL), first=[PLAN], queued=True)
    assert drill is not None
    assert names(store.begin_next(RunKind.DRILL, most=1, window=1)) == [drill.id]


def test_one_that_waits_for_a_target_yields_after_a_while(store: RunStore) -> None:
    stuck, following = queued(store, "a", "b")
    (ticket,) = begin(store, most=1)
    assert store.wait(claimed(store, ticket), "TargetUnavailable: away", pause=15.0, patience=9999.0)
    assert begin(store, most=1) == []
    let_pass(store, YIELDS + 1.0)
    assert names(begin(store, most=1)) == [following.id]
    let_pass(store, 10.0)
    assert take(store, stuck), "it goes on all the same"


def test_one_whose_messages_nobody_takes_yields(store: RunStore) -> None:
    runs = queued(store, "a", "b", "c", "d")
    begin(store)
    let_pass(store, YIELDS + 1.0)
    assert names(begin(store)) == [runs[2].id, runs[3].id]


def test_a_long_queue_that_is_served_lets_nobody_in(store: RunStore) -> None:
    queued(store, "a", "b", "c")
    _, taken = begin(store)
    let_pass(store, YIELDS + 1.0)
    claimed(store, taken)
    assert begin(store) == []


def test_one_that_is_cancelled_before_its_turn_ends(store: RunStore) -> None:
    begun, waiting = queued(store, "a", "b")
    begin(store, most=1)
    store.cancel(waiting.id)
    assert store.reconcile(decide) == [waiting.id]
    assert work_off(store, waiting).state is RunState.CANCELLED
    assert store.load(begun.id).state is RunState.ACTIVE


def test_who_performs_a_run_by_itself_waits_for_no_turn(store: RunStore) -> None:
    _, mine = queued(store, "a", "b")
    begin(store, most=1)
    assert names(take(store, mine)) == [mine.id]
    assert not store.load(mine.id).queued


def test_a_retry_waits_for_its_turn_again(store: RunStore) -> None:
    (run,) = queued(store, "a")
    (ticket,) = begin(store)
    store.fail(claimed(store, ticket), "broken", settle=StepState.POISONED, decide=decide)
    work_off(store, run)
    assert store.load(run.id).state is RunState.FAILED
    assert store.retry(run.id, lambda *_: decide(*_[:3]), first=[PLAN], queued=True).queued
    assert names(begin(store)) == [run.id]


def test_several_that_ask_at_once_begin_no_more(store: RunStore) -> None:
    queued(store, *(f"policy-{number}" for number in range(12)))
    with ThreadPoolExecutor(6) as threads:
        tickets = [
            ticket for found in threads.map(lambda _: begin(store, most=3), range(6)) for ticket in found
        ]
    assert len(tickets) == len(set(names(tickets))) == 3


def test_a_lost_first_message_is_sent_again(store: RunStore) -> None:
    (run,) = queued(store, "a")
    begin(store)
    let_pass(store, 1000.0)
    assert store.reconcile(decide) == [run.id]
    assert [ticket.step.kind for ticket in take(store, run)] == [StepKind.PLAN]
    assert state_of(store, run, PLAN) is StepState.SENT


def test_an_edited_run_keeps_no_other_from_its_turn(store: RunStore) -> None:
    odd, step_odd, whole = queued(store, "a", "b", "c")
    with store._database.writing() as conn:
        conn.execute(update(tables.runs).where(tables.runs.c.id == odd.id).values(spec="{}"))
        conn.execute(update(tables.steps).where(tables.steps.c.run == step_odd.id).values(kind="sorcery"))
    assert names(begin(store, most=1)) == [whole.id]
    assert begin(store, most=1) == []


def test_what_has_no_room_beside_messages_that_nobody_takes_keeps_no_other_back(store: RunStore) -> None:
    first, following = queued(store, "a", "b")
    (ticket,) = begin(store, most=1)
    store.finish(claimed(store, ticket), {}, decide, window=1)  # one capture goes out, two have no room
    assert begin(store, most=1) == []
    let_pass(store, YIELDS + 1.0)
    assert names(begin(store, most=1)) == [following.id]
    assert not store.load(first.id).state.final


def test_one_that_an_older_version_began_goes_on(store: RunStore) -> None:
    begun, other = queued(store, "a", "b")
    begin(store, most=1)
    take(store, other)
    with store._database.writing() as conn:  # it does not know that a run waits for its turn
        conn.execute(update(tables.runs).where(tables.runs.c.id == other.id).values(queued=True))
    let_pass(store, 1000.0)
    assert store.reconcile(decide) == [begun.id, other.id]


def test_one_that_an_older_version_began_is_known_to_be_at_work_once_a_step_of_it_has_ended(
    store: RunStore,
) -> None:
    (run,) = queued(store, "a")
    (ticket,) = begin(store)
    with store._database.writing() as conn:  # the older version gave it out, and did not say so
        conn.execute(update(tables.runs).values(queued=True))
    store.finish(claimed(store, ticket), {}, decide, window=1)
    assert not store.load(run.id).queued


def test_only_an_end_that_was_says_that_a_queue_moves(store: RunStore) -> None:
    (run,) = queued(store, "a")
    store.cancel(run.id)
    ended = work_off(store, run).finished_at
    assert store.newest_ends() == {RunKind.BACKUP: ended}
    for odd in ({"finished_at": 1e12}, {"finished_at": ended, "kind": "sorcery"}):
        with store._database.writing() as conn:
            conn.execute(update(tables.runs).values(**odd))
        assert store.newest_ends() == {}


@pytest.mark.parametrize("most", [1, 5])
def test_all_of_many_end(store: RunStore, most: int) -> None:
    runs = queued(store, *(f"policy-{number % 4}" for number in range(9)))
    while tickets := begin(store, most=most):
        for ticket in tickets:
            do(store, ticket)
            work_off(store, ticket.run)
    assert {store.load(run.id).state for run in runs} == {RunState.DONE}
