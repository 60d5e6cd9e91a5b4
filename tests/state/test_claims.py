"""Giving steps out and leasing them."""

from __future__ import annotations

from strongroom.state.records import StepKind, StepState
from strongroom.state.store import RunStore
from tests.state.pipeline import (
    COMMIT,
    PLAN,
    capture,
    claimed,
    decide,
    do,
    let_pass,
    new_run,
    start,
    state_of,
    take,
    upload,
)


def test_what_is_ready_is_given_out_once(store: RunStore) -> None:
    run = new_run(store)
    assert [ticket.step for ticket in take(store, run)] == [PLAN]
    assert take(store, run) == []
    assert state_of(store, run, PLAN) is StepState.SENT


def test_dispatch_numbers_ascend_over_all_runs_and_are_never_reused(store: RunStore) -> None:
    numbers = []
    for _ in range(3):
        run = new_run(store, [PLAN, COMMIT])
        numbers += [ticket.dispatch for ticket in take(store, run)]
    let_pass(store, 3600)
    for name in store.reconcile(decide):
        numbers += [ticket.dispatch for ticket in take(store, name)]
    assert len(numbers) == 12
    assert numbers == sorted(set(numbers))


def test_captures_wait_while_the_window_is_full(store: RunStore) -> None:
    run = new_run(store, [capture(piece) for piece in range(5)])
    first, second = take(store, run, window=2)
    assert take(store, run, window=2) == []
    claim = claimed(store, first)
    assert take(store, run, window=2) == [], "a capture under way holds its place"
    store.finish(claim, {}, decide)
    uploads = take(store, run, window=2)
    assert {ticket.step.kind for ticket in uploads} == {StepKind.UPLOAD}, "its uploads hold it too"
    do(store, uploads[0])
    do(store, uploads[1])
    assert take(store, run, window=2) == [], "and so does the last of them"
    do(store, uploads[2])
    assert [ticket.step for ticket in take(store, run, window=2)] == [capture(2)]
    do(store, second)


def test_uploads_go_before_captures(store: RunStore) -> None:
    run = new_run(store, [capture(0), capture(7), upload(8), upload(3)])
    assert [ticket.step for ticket in take(store, run)] == [upload(3), upload(8), capture(0), capture(7)]


def test_a_window_that_shrank_stops_captures_and_nothing_else(store: RunStore) -> None:
    run = new_run(store, [capture(0), capture(1), capture(2), upload(9)])
    assert len(take(store, run, window=4)) == 4
    assert take(store, run, window=1) == []


def test_a_claim_counts_its_attempt_before_the_work(store: RunStore) -> None:
    run = new_run(store)
    claim = claimed(store, take(store, run)[0])
    (row,) = store.rows(run.id)
    assert (claim.attempt, claim.owner, row.attempts, row.state) == (1, "worker", 1, StepState.RUNNING)
    assert row.started_at is not None


def test_a_leased_step_cannot_be_claimed_by_another(store: RunStore) -> None:
    (ticket,) = take(store, new_run(store))
    claimed(store, ticket)
    assert store.claim(ticket, owner="other") is None


def test_a_redelivered_message_takes_over_once_the_lease_ran_out(store: RunStore) -> None:
    (ticket,) = take(store, new_run(store))
    first = claimed(store, ticket)
    let_pass(store, 16)
    second = claimed(store, ticket, "other")
    assert (second.fence, second.attempt) == (first.fence + 1, 2)
    assert store.renew(first) is False
    assert store.renew(second) is True


def test_renewing_keeps_the_lease_from_running_out(store: RunStore) -> None:
    (ticket,) = take(store, new_run(store))
    claim = claimed(store, ticket)
    for _ in range(3):
        let_pass(store, 14)
        assert store.renew(claim)
    assert store.claim(ticket, owner="other") is None
    let_pass(store, 16)
    assert store.renew(claim), "a lease that ran out and that nobody took is still ours"


def test_a_lease_lasts_as_long_as_was_asked(store: RunStore) -> None:
    (ticket,) = take(store, new_run(store))
    claim = store.claim(ticket, owner="worker", lease=100)
    assert claim is not None
    let_pass(store, 80)
    assert store.claim(ticket, owner="other") is None
    assert store.renew(claim, lease=5)
    let_pass(store, 6)
    assert store.claim(ticket, owner="other") is not None


def test_a_ticket_is_stale_once_its_step_was_sent_again(store: RunStore) -> None:
    run = new_run(store)
    (old,) = take(store, run)
    let_pass(store, 3600)
    assert store.reconcile(decide) == [run.id]
    assert store.claim(old, owner="worker") is None, "not sent again yet, but given up as lost"
    (new,) = take(store, run)
    assert store.claim(old, owner="worker") is None
    assert store.claim(new, owner="worker") is not None


def test_a_settled_step_cannot_be_claimed(store: RunStore) -> None:
    (ticket,) = take(store, new_run(store))
    do(store, ticket)
    let_pass(store, 3600)
    assert store.claim(ticket, owner="worker") is None


def test_the_last_start_without_an_outcome_is_the_last(store: RunStore) -> None:
    (ticket,) = take(store, new_run(store))
    for attempt in range(1, 6):
        assert claimed(store, ticket).attempt == attempt
        let_pass(store, 16)
    assert store.claim(ticket, owner="worker") is None


def test_a_recorded_failure_is_an_outcome_and_starts_the_count_afresh(store: RunStore) -> None:
    run = new_run(store)
    for attempt in range(1, 13):
        (ticket,) = take(store, run)
        claim = claimed(store, ticket)
        assert claim.attempt == attempt
        store.fail(claim, "the source did not answer", retry_in=0, decide=decide)
    assert state_of(store, run, PLAN) is StepState.READY


def test_claims_of_different_steps_do_not_meet(store: RunStore) -> None:
    first, second = start(store, [upload(0, "a"), upload(0, "b")])
    assert store.renew(first)
    store.finish(second, {}, decide)
    assert store.renew(first)
