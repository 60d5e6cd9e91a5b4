"""Several processes at once, on the real databases."""

from __future__ import annotations

import pytest

from strongroom.operations.evidence.ledger import verify_chain
from strongroom.state.records import RunState, StepKind, StepState
from strongroom.state.store import RunStore
from tests.postgres import PostgresServer
from tests.state import racers
from tests.state.pipeline import COMMIT, capture, claimed, let_pass, new_run, start, take, upload


def last_two_at_once(store: RunStore, url: str, *, locked: bool) -> int:
    """Record the last two pieces at the same time; return how many commits that led to."""
    first, second = start(store, [upload(0), upload(1)])
    one, two = racers.two_events()
    racers.race(
        racers.finish_while_the_other_counts,
        [(url, first, (one, two), locked), (url, second, (two, one), locked)],
    )
    assert store.tally(first.ticket.run).of(StepKind.UPLOAD, states=(StepState.DONE,)) == 2
    return store.tally(first.ticket.run).of(StepKind.COMMIT)


def test_of_the_last_two_pieces_exactly_one_is_last(store: RunStore, url: str) -> None:
    assert last_two_at_once(store, url, locked=True) == 1


def test_without_the_lock_on_the_run_neither_of_the_last_two_is_last(
    postgres_server: PostgresServer,
) -> None:
    """The test above can fail: this is the same race with the lock taken out.

    Only PostgreSQL shows it. SQLite admits one writer at a time, lock or no lock.
    """
    url = postgres_server.new_database()
    store = RunStore(url)
    assert last_two_at_once(store, url, locked=False) == 0
    store.close()


def test_many_pieces_recorded_at_once_lead_to_one_commit(store: RunStore, url: str) -> None:
    claims = start(store, [upload(piece, target) for piece in range(12) for target in ("a", "b")])
    run = claims[0].ticket.run
    racers.race(racers.finish_all, [(url, claims[part::4]) for part in range(4)])
    tally = store.tally(run)
    assert tally.of(StepKind.UPLOAD, states=(StepState.DONE,)) == 24
    assert [ticket.step for ticket in take(store, run)] == [COMMIT]


def test_a_ticket_is_claimed_once_however_often_it_is_delivered(store: RunStore, url: str) -> None:
    tickets = take(store, new_run(store, [upload(piece) for piece in range(40)]))
    won = racers.race(racers.claim_all, [(url, tickets, f"worker-{number}") for number in range(4)])
    assert sorted(step for steps in won for step in steps) == [upload(piece) for piece in range(40)]


def test_the_window_holds_when_several_take_at_once(store: RunStore, url: str) -> None:
    run = new_run(store, [capture(piece) for piece in range(30)])
    taken = racers.race(racers.take_all, [(url, run.id, 6)] * 4)
    tickets = [ticket for each in taken for ticket in each]
    assert len(tickets) == 6
    assert len({ticket.dispatch for ticket in tickets}) == 6


@pytest.mark.parametrize("slot", [("weekly", 86400.0), None])
def test_one_request_or_slot_makes_one_run_in_any_number_of_processes(
    store: RunStore, url: str, slot: tuple[str, float] | None
) -> None:
    request = None if slot else "celery-task-id"
    made = racers.race(racers.create, [(url, request, slot)] * 4)
    (run,) = store.runs()
    assert {name for name in made if name is not None} == {run.id}
    assert made.count(None) == (3 if slot else 0)
    assert len(store.rows(run.id)) == 1


def test_what_is_lost_is_recovered_once_by_any_number_of_reconcilers(store: RunStore, url: str) -> None:
    run = new_run(store, [upload(piece) for piece in range(6)])
    tickets = take(store, run)
    for ticket in tickets[:3]:
        claimed(store, ticket)
    let_pass(store, 3600)
    racers.race(racers.reconcile, [(url,)] * 3)
    for kind in ("reconcile.expired", "reconcile.lost"):
        assert sum(event.detail["steps"] for event in store.events(run=run.id, kind=kind)) == 3
    assert store.tally(run.id).of(StepKind.UPLOAD, states=(StepState.READY,)) == 6


def test_an_empty_database_may_be_opened_by_several_processes_at_once(empty_url: str) -> None:
    for kinds in racers.race(racers.open_first, [(empty_url,)] * 4):
        assert "opened" in kinds


def test_four_processes_work_one_run_off_and_none_finds_the_database_locked(
    store: RunStore, url: str
) -> None:
    run = new_run(store, [upload(piece, target) for piece in range(50) for target in ("a", "b", "c")])
    done = racers.race(racers.work_until_done, [(url, run.id, f"worker-{number}") for number in range(4)])
    assert sum(done) == 150 + 1 + 3 + 1, "uploads, commit, verifications, report: each once"
    assert store.load(run.id).state is RunState.DONE


def test_events_appended_by_many_at_once_make_one_unbroken_chain(url: str) -> None:
    racers.race(racers.append_events, [(url, 25)] * 4)
    store = RunStore(url)
    found = verify_chain(store)
    assert (found.events, found.broken) == (100, None)
    store.close()
