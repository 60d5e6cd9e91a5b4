"""Recording what came of a step, ending early, and taking up again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import text

from strongroom.errors import UsageError
from strongroom.state.errors import ClaimLost
from strongroom.state.records import (
    Claim,
    Run,
    RunState,
    RunStep,
    StepConsequence,
    StepKind,
    StepState,
    Tally,
)
from strongroom.state.store import RunStore
from tests.state.pipeline import (
    COMMIT,
    PIECES,
    PLAN,
    REPORT,
    TARGETS,
    capture,
    claimed,
    decide,
    decide_again,
    do,
    let_pass,
    new_run,
    start,
    state_of,
    take,
    upload,
    work_off,
)


def test_a_backup_goes_from_plan_to_report(store: RunStore) -> None:
    run = work_off(store, new_run(store))
    assert run.state is RunState.DONE
    assert run.facts == {"pieces": 3}
    assert run.finished_at is not None
    assert store.tally(run.id).of(StepKind.UPLOAD, states=(StepState.DONE,)) == 9
    assert store.tally(run.id).of(StepKind.COMMIT) == 1


def test_finishing_records_the_result_and_what_follows(store: RunStore) -> None:
    (claim,) = start(store, [capture(4)])
    run, _ = store.finish(claim, {"sha256": "ab", "size": 7}, decide)
    rows = {row.step: row for row in store.rows(run.id)}
    assert rows[capture(4)].result == {"sha256": "ab", "size": 7}
    assert rows[capture(4)].finished_at is not None
    assert set(rows) == {capture(4), upload(4, "a"), upload(4, "b"), upload(4, "c")}


def test_what_is_due_is_given_out_with_the_outcome_that_made_it_due(store: RunStore) -> None:
    (claim,) = start(store, [capture(4)])
    run, due = store.finish(claim, {}, decide, window=1)
    assert [ticket.step for ticket in due] == [upload(4, target) for target in TARGETS]
    assert take(store, run) == []
    assert all(store.claim(ticket, owner="worker") for ticket in due)


def test_no_more_captures_are_given_out_with_an_outcome_than_the_window_allows(store: RunStore) -> None:
    (plan,) = start(store, [PLAN])
    _, due = store.finish(plan, {}, decide, window=2)
    assert [ticket.step for ticket in due] == [capture(0), capture(1)]
    _, due = store.finish(claimed(store, due[0]), {}, decide, window=2)
    assert [ticket.step for ticket in due] == [upload(0, target) for target in TARGETS]


def test_a_claim_has_the_run_as_it_stands_now(store: RunStore) -> None:
    (plan,) = start(store, [PLAN])
    assert plan.run == store.load(plan.ticket.run)
    run, due = store.finish(plan, {}, decide, window=1)
    assert claimed(store, due[0]).run == run
    assert run.facts == {"pieces": PIECES}


def test_a_follower_that_exists_stays_as_it_is(store: RunStore) -> None:
    claim, other = start(store, [capture(4), upload(4, "a")])
    store.finish(other, {"kept": True}, lambda *_: StepConsequence())
    store.finish(claim, {}, decide)
    assert [row.result for row in store.rows(claim.ticket.run) if row.step == upload(4, "a")] == [
        {"kept": True}
    ]


def test_facts_of_several_steps_are_merged(store: RunStore) -> None:
    first, second = start(store, [upload(0), upload(1)])
    store.finish(first, {}, lambda *_: StepConsequence(facts={"one": 1, "both": 1}))
    run, _ = store.finish(second, {}, lambda *_: StepConsequence(facts={"two": 2, "both": 2}))
    assert run.facts == store.load(run.id).facts == {"one": 1, "two": 2, "both": 2}


def test_decide_sees_the_run_as_it_is_recorded(store: RunStore) -> None:
    seen: list[tuple[Run, Tally, RunStep]] = []

    def look(run: Run, tally: Tally, step: RunStep) -> StepConsequence:
        seen.append((run, tally, step))
        return StepConsequence()

    (claim,) = start(store, [PLAN])
    store.finish(claim, {}, look)
    ((run, tally, step),) = seen
    assert (run, step) == (store.load(run.id), PLAN)
    assert tally == store.tally(run.id)


def test_when_decide_raises_nothing_is_recorded(store: RunStore) -> None:
    (claim,) = start(store, [PLAN])
    with pytest.raises(ZeroDivisionError):
        store.finish(claim, {}, lambda *_: 1 / 0)  # type: ignore[arg-type]
    assert state_of(store, claim.ticket.run, PLAN) is StepState.RUNNING
    store.finish(claim, {}, decide)


def test_whoever_lost_the_lease_cannot_record(store: RunStore) -> None:
    (ticket,) = take(store, new_run(store))
    slow = claimed(store, ticket, "slow")
    let_pass(store, 16)
    fast = claimed(store, ticket, "fast")
    with pytest.raises(ClaimLost):
        store.finish(slow, {"by": "slow"}, decide)
    with pytest.raises(ClaimLost):
        store.fail(slow, "late", settle=StepState.POISONED, decide=decide)
    store.finish(fast, {"by": "fast"}, decide)
    with pytest.raises(ClaimLost):
        store.finish(slow, {"by": "slow"}, decide)
    assert store.rows(ticket.run, StepKind.PLAN)[0].result == {"by": "fast"}


def test_a_late_result_still_counts_if_nobody_took_over(store: RunStore) -> None:
    (claim,) = start(store, [PLAN])
    let_pass(store, 3600)
    run, _ = store.finish(claim, {}, decide)
    assert run.facts == {"pieces": 3}


def test_recording_again_after_a_lost_answer_changes_nothing(store: RunStore) -> None:
    (claim,) = start(store, [PLAN])
    first = store.finish(claim, {"n": 1}, decide)
    before = store.rows(claim.ticket.run)
    assert store.finish(claim, {"n": 2}, decide)[0] == first[0]
    assert store.rows(claim.ticket.run) == before


def test_a_failure_to_be_retried_waits_for_its_time(store: RunStore) -> None:
    (claim,) = start(store, [PLAN])
    run, _ = store.fail(claim, "the source did not answer", retry_in=30, decide=decide)
    assert take(store, run) == []
    assert store.reconcile(decide) == []
    let_pass(store, 31)
    assert store.reconcile(decide) == [run.id]
    (ticket,) = take(store, run)
    (row,) = store.rows(run.id)
    assert row.error == "the source did not answer"
    assert claimed(store, ticket).attempt == 2


def test_a_missed_replica_leads_on(store: RunStore) -> None:
    run = new_run(store)
    do(store, take(store, run)[0])
    for ticket in take(store, run):
        do(store, ticket)
    for ticket in take(store, run):
        claim = claimed(store, ticket)
        if ticket.step.target == "b":
            store.fail(claim, "the target is full", settle=StepState.MISSED, decide=decide)
        else:
            store.finish(claim, {}, decide)
    assert [ticket.step for ticket in take(store, run)] == [COMMIT]


# -- ending early ------------------------------------------------------------


def poison(store: RunStore, claim: Claim, error: str = "two secrets of one name") -> Run:
    return store.fail(claim, error, settle=StepState.POISONED, decide=decide)[0]


def test_a_poisoned_step_fails_the_run_through_its_report(store: RunStore) -> None:
    run = new_run(store, [capture(0), capture(1), capture(2)])
    first, sent = take(store, run, window=2)
    closing = poison(store, claimed(store, first))
    assert (closing.state, closing.closing) == (RunState.ACTIVE, True)
    assert closing.facts == {"ending": "failed", "error": "capture/0: two secrets of one name"}
    assert store.load(run.id) == closing
    assert store.claim(sent, owner="worker") is None
    assert [row.state for row in store.rows(run.id, StepKind.CAPTURE)] == [
        StepState.POISONED,
        StepState.MISSED,
        StepState.MISSED,
    ]
    (report,) = take(store, run)
    assert report.step == REPORT
    failed = do(store, report)
    assert (failed.state, failed.error) == (RunState.FAILED, "capture/0: two secrets of one name")
    assert store.load(run.id) == failed


def test_a_closing_run_reports_only_when_nobody_works_any_more(store: RunStore) -> None:
    bad, slow, slower = start(store, [capture(0), capture(1), capture(2)])
    run = poison(store, bad)
    assert take(store, run) == []
    store.finish(slow, {"staged": "here"}, decide)
    assert take(store, run) == []
    store.fail(slower, "the source did not answer", retry_in=5, decide=decide)
    assert [ticket.step for ticket in take(store, run)] == [REPORT]
    states = [row.state for row in store.rows(run.id, StepKind.CAPTURE)]
    assert states == [StepState.POISONED, StepState.DONE, StepState.MISSED]
    assert store.tally(run.id).of(StepKind.UPLOAD) == 0, "nothing follows any more"


def test_a_closing_run_does_not_wait_for_the_dead(store: RunStore) -> None:
    bad, _dead = start(store, [capture(0), capture(1)])
    run = poison(store, bad)
    assert store.reconcile(decide) == []
    let_pass(store, 16)
    assert store.reconcile(decide) == [run.id]
    assert [ticket.step for ticket in take(store, run)] == [REPORT]


def test_a_redelivered_message_starts_nothing_in_a_closing_run(store: RunStore) -> None:
    bad, dead = start(store, [capture(0), capture(1)])
    poison(store, bad)
    let_pass(store, 16)
    assert store.claim(dead.ticket, owner="other") is None


def test_a_worker_of_a_closing_run_is_told_at_its_next_renewal(store: RunStore) -> None:
    bad, other = start(store, [capture(0), capture(1)])
    assert store.renew(other)
    poison(store, bad)
    assert not store.renew(other)


def test_a_closing_run_s_report_keeps_its_lease_and_its_retries(store: RunStore) -> None:
    (bad,) = start(store, [capture(0)])
    run = poison(store, bad)
    claim = claimed(store, take(store, run)[0])
    assert store.renew(claim)
    store.fail(claim, "the stage did not answer", retry_in=0, decide=decide)
    assert do(store, take(store, run)[0]).state is RunState.FAILED


def test_a_verdict_of_failure_closes_the_run_too(store: RunStore) -> None:
    claim, other = start(store, [COMMIT, upload(0)])
    failing = StepConsequence(
        state=RunState.FAILED, error="1 of 2 regions", follow=(PLAN,), facts={"held": 1}
    )
    run, _ = store.finish(claim, {}, lambda *_: failing)
    assert run.closing
    assert run.facts == {"held": 1, "ending": "failed", "error": "1 of 2 regions"}
    store.finish(other, {}, decide)
    assert [ticket.step for ticket in take(store, run)] == [REPORT], "its followers are not inserted"


def test_the_first_reason_to_close_stays(store: RunStore) -> None:
    first, second = start(store, [capture(0), capture(1)])
    poison(store, first, "first")
    run = poison(store, second, "second")
    assert run.facts["error"] == "capture/0: first"
    assert store.cancel(run.id).facts["ending"] == "failed"


def test_a_report_given_up_still_ends_the_run(store: RunStore) -> None:
    (claim,) = start(store, [REPORT])
    run = poison(store, claim, "the stage is gone")
    assert (run.state, run.error) == (RunState.FAILED, "report: the stage is gone")
    assert store.load(run.id) == run


def test_nothing_can_be_claimed_or_recorded_in_a_run_that_ended(store: RunStore) -> None:
    run = new_run(store, [REPORT, upload(0), upload(1)])
    tickets = {ticket.step: ticket for ticket in take(store, run)}
    running = claimed(store, tickets[upload(0)])
    assert do(store, tickets[REPORT]).state is RunState.DONE
    with pytest.raises(ClaimLost):
        store.finish(running, {}, decide)
    assert store.claim(tickets[upload(1)], owner="worker") is None
    assert not store.renew(running)
    assert take(store, run) == []
    assert store.tally(run.id).unsettled(StepKind.UPLOAD) == 0


# -- cancel and retry --------------------------------------------------------


def test_cancelling_drops_what_has_not_begun_and_ends_in_cancelled(store: RunStore) -> None:
    run = new_run(store, [capture(0), capture(1)])
    (sent,) = take(store, run, window=1)
    cancelled = store.cancel(run.id, error="cancelled by an operator")
    assert (cancelled.closing, cancelled.state) == (True, RunState.ACTIVE)
    assert store.claim(sent, owner="worker") is None
    ended = work_off(store, run)
    assert (ended.state, ended.error) == (RunState.CANCELLED, "cancelled by an operator")
    assert store.cancel(run.id) == ended


def test_cancelling_lets_a_running_step_end_first(store: RunStore) -> None:
    (claim,) = start(store, [capture(0)])
    run = store.cancel(claim.ticket.run)
    assert take(store, run) == []
    store.finish(claim, {}, decide)
    assert work_off(store, run).state is RunState.CANCELLED


def test_a_run_at_its_report_is_too_late_to_cancel(store: RunStore) -> None:
    run = new_run(store, [REPORT])
    assert not store.cancel(run.id).closing
    assert work_off(store, run).state is RunState.DONE


def test_a_failed_run_is_taken_up_where_it_stopped(store: RunStore) -> None:
    run = new_run(store)
    do(store, take(store, run)[0])
    first, second, third = take(store, run)
    do(store, first)
    bad, slow = claimed(store, second), claimed(store, third)
    poison(store, bad)
    store.finish(slow, {}, decide)
    assert work_off(store, run).state is RunState.FAILED
    again = store.retry(run.id, decide_again)
    assert (again.state, again.closing, again.error, again.finished_at) == (
        RunState.ACTIVE,
        False,
        None,
        None,
    )
    assert again.facts == {"pieces": 3}
    rows = {row.step: row for row in store.rows(run.id)}
    assert REPORT not in rows
    assert rows[capture(0)].state is StepState.DONE
    assert (rows[capture(1)].state, rows[capture(1)].attempts) == (StepState.READY, 0)
    assert rows[upload(2)].state is StepState.READY, "what a step led to that ended while closing"
    assert work_off(store, run).state is RunState.DONE
    assert store.tally(run.id).of(StepKind.UPLOAD, states=(StepState.DONE,)) == 9


def test_a_run_that_failed_at_its_report_reports_again(store: RunStore) -> None:
    run = new_run(store)
    tickets = take(store, run)
    while tickets[0].step != REPORT:
        for ticket in tickets:
            do(store, ticket)
        tickets = take(store, run)
    poison(store, claimed(store, tickets[0]), "the stage is gone")
    store.retry(run.id, decide_again)
    (report,) = take(store, run)
    assert report.step == REPORT
    assert do(store, report).state is RunState.DONE


def test_facts_found_while_a_run_is_closing_are_kept(store: RunStore) -> None:
    bad, other = start(store, [capture(0), capture(1)])
    poison(store, bad)
    leaving = StepConsequence(facts={"found": 1}, follow=(COMMIT,), state=RunState.DONE)
    run, _ = store.finish(other, {}, lambda *_: leaving)
    assert (run.facts["found"], run.state) == (1, RunState.ACTIVE)
    assert [ticket.step for ticket in take(store, run)] == [REPORT]


def test_a_failed_run_can_be_started_over(store: RunStore) -> None:
    bad, _ = start(store, [capture(0), capture(1)])
    let_pass(store, 16)
    run = poison(store, bad)
    store.reconcile(decide)
    work_off(store, run)
    store.retry(run.id, decide_again, first=[PLAN])
    assert [row.step for row in store.rows(run.id)] == [PLAN]
    assert work_off(store, run).state is RunState.DONE


def test_a_claim_of_before_a_retry_holds_nothing_after_it(store: RunStore) -> None:
    (old,) = start(store, [PLAN])
    run = store.cancel(old.ticket.run)
    poison(store, old)
    work_off(store, run)
    with pytest.raises(UsageError):
        store.retry(run.id, decide_again)
    (bad,) = start(store, [PLAN])
    run = poison(store, bad)
    work_off(store, run)
    store.retry(run.id, decide_again, first=[PLAN])
    claim = claimed(store, take(store, run)[0])
    assert claim.fence == bad.fence, "fences start afresh, so the dispatch number has to tell them apart"
    with pytest.raises(ClaimLost):
        store.finish(bad, {}, decide)
    assert not store.renew(bad)
    store.finish(claim, {}, decide)


def test_only_a_failed_run_can_be_retried(store: RunStore) -> None:
    run = new_run(store)
    with pytest.raises(UsageError, match="is active"):
        store.retry(run.id, decide_again)
    work_off(store, run)
    with pytest.raises(UsageError, match="is done"):
        store.retry(run.id, decide_again)


def test_a_retry_asks_with_the_results_that_were_recorded(store: RunStore) -> None:
    done, bad = start(store, [capture(0), capture(1)])
    store.finish(done, {"sha256": "ab"}, decide)
    run = poison(store, bad)
    work_off(store, run)
    asked = []

    def look(run: Run, tally: Tally, step: RunStep, result: Mapping[str, Any]) -> StepConsequence:
        asked.append((step, result, tally.unsettled(StepKind.CAPTURE)))
        return StepConsequence(facts={"asked": True})

    assert store.retry(run.id, look).facts == {"asked": True}
    assert asked == [(capture(0), {"sha256": "ab"}, 1)]


def test_a_step_given_up_while_closing_asks_nobody(store: RunStore) -> None:
    bad, plan = start(store, [capture(0), PLAN])
    run = poison(store, bad)
    store.fail(plan, "the source did not answer", retry_in=5, decide=nobody)
    (report,) = take(store, run)
    assert store.fail(claimed(store, report), "the stage is gone", settle=StepState.MISSED, decide=nobody)[
        0
    ] == (store.load(run.id))
    assert store.load(run.id).state is RunState.FAILED


def nobody(run: Run, tally: Tally, step: RunStep) -> StepConsequence:
    raise AssertionError(f"asked for {step}")


def waits(store: RunStore, claim: Claim, *, patience: float = 100.0) -> bool:
    return store.wait(claim, "TargetFull: no room", pause=10.0, patience=patience)


def test_a_step_that_waits_gets_its_attempt_back_and_is_due_after_the_pause(store: RunStore) -> None:
    (claim,) = start(store, [capture(4)])
    run = claim.ticket.run
    for _ in range(7):  # more often than a step may start
        assert waits(store, claim)
        (row,) = store.rows(run)
        assert (row.state, row.attempts, row.error) == (StepState.READY, 0, "TargetFull: no room")
        assert row.waits_since is not None
        assert take(store, run) == []
        let_pass(store, 11.0)
        claim = claimed(store, take(store, run)[0])
    store.finish(claim, {}, lambda *_: StepConsequence())
    (row,) = store.rows(run)
    assert (row.state, row.attempts, row.waits_since) == (StepState.DONE, 1, None)


def test_its_like_pause_with_it_and_nothing_else_does(store: RunStore) -> None:
    steps = [upload(0, "a"), upload(1, "a"), upload(1, "b"), capture(2)]
    claims = {claim.ticket.step: claim for claim in start(store, steps)}
    for step in steps[1:]:
        store.fail(claims[step], "x", retry_in=0.0, decide=decide)
    assert waits(store, claims[upload(0, "a")])
    assert {ticket.step for ticket in take(store, claims[capture(2)].ticket.run)} == {
        upload(1, "b"),
        capture(2),
    }


def test_patience_counts_from_the_first_wait_and_ends(store: RunStore) -> None:
    (claim,) = start(store, [capture(4)])
    run = claim.ticket.run
    for _ in range(3):
        assert waits(store, claim)
        let_pass(store, 30.0)
        claim = claimed(store, take(store, run)[0])
    let_pass(store, 30.0)
    assert not waits(store, claim)
    assert state_of(store, run, capture(4)) is StepState.RUNNING


def test_nothing_waits_in_a_run_that_is_closing_or_under_a_lost_claim(store: RunStore) -> None:
    first, second = start(store, [capture(0), capture(1)])
    store.forsake(first.ticket.run, owners=["worker"])
    store.reconcile(decide)
    ticket = {one.step: one for one in take(store, first.ticket.run)}[capture(0)]
    claimed(store, ticket)
    assert not waits(store, first)
    store.cancel(first.ticket.run)
    assert not waits(store, second)


@pytest.mark.parametrize("since", ["9e11", "'soon'"])
def test_a_time_that_was_edited_into_the_future_has_nobody_wait_for_ever(store: RunStore, since: str) -> None:
    (claim,) = start(store, [capture(4)])
    run = claim.ticket.run
    with store._database.writing() as conn:
        if conn.dialect.name == "postgresql" and since == "'soon'":
            since = "'infinity'"  # a column of numbers takes no other text there
        conn.execute(text(f"UPDATE steps SET waits_since = {since}"))
    assert waits(store, claim)
    let_pass(store, 101.0)
    claim = claimed(store, take(store, run)[0])
    assert not waits(store, claim)
