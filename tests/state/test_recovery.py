"""Telling lost from queued, and putting right what got lost."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import delete, event, update

from strongroom.state import catalog, engine, recovery, runs, sql, tables
from strongroom.state.records import Run, RunState, RunStep, StepConsequence, StepKind, StepState, Tally
from strongroom.state.recovery import LossPatience, Queue, UnsettledStep, is_lost
from strongroom.state.store import RunStore
from tests.state.pipeline import (
    COMMIT,
    PLAN,
    REPORT,
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
    work_off,
)


def sent(*, age: float, dispatch: int = 10, sends: int = 1) -> UnsettledStep:
    """A step whose message was sent ``age`` seconds before the time 1000."""
    return UnsettledStep(
        run="r",
        step=COMMIT,
        state=StepState.SENT,
        dispatch=dispatch,
        silent=0,
        sends=sends,
        sent_at=1000 - age,
        lease_expires=0,
    )


@pytest.mark.parametrize(
    ("watched", "queue", "lost"),
    [
        (sent(age=6), Queue(overtaking=11, taken_at=994), True),
        (sent(age=4), Queue(overtaking=11, taken_at=998), False),
        (sent(age=6), Queue(overtaking=9, taken_at=999), False),
        (sent(age=9, sends=2), Queue(overtaking=11, taken_at=994), False),
        (sent(age=11, sends=2), Queue(overtaking=11, taken_at=994), True),
        (sent(age=31), Queue(), True),
        (sent(age=29), Queue(), False),
        (sent(age=59, sends=2), Queue(), False),
        (sent(age=61, sends=2), Queue(), True),
        (sent(age=599, sends=40), Queue(), False),
        (sent(age=601, sends=40), Queue(), True),
        (sent(age=86400), Queue(overtaking=9, taken_at=971), False),
        (sent(age=86400), Queue(overtaking=9, taken_at=969), True),
        (sent(age=31), Queue(working=True), False),
        (sent(age=301), Queue(working=True), True),
    ],
)
def test_a_message_is_lost_when_overtaken_or_its_queue_is_silent(
    watched: UnsettledStep, queue: Queue, lost: bool
) -> None:
    assert is_lost(watched, queue, 1000, LossPatience()) is lost


def events(store: RunStore, kind: str) -> list[object]:
    """What the events of a kind are about."""
    return [event.detail["step"] for event in store.events(kind=kind)]


def test_a_message_that_never_came_is_sent_again_after_the_idle_time(store: RunStore) -> None:
    run = new_run(store)
    take(store, run)
    let_pass(store, 20)
    assert store.reconcile(decide) == []
    let_pass(store, 11)
    assert store.reconcile(decide) == [run.id]
    assert events(store, "reconcile.lost") == ["plan"]
    assert work_off(store, run).state is RunState.DONE


def test_sending_again_and_again_waits_twice_as_long_each_time(store: RunStore) -> None:
    run = new_run(store)
    waited = []
    for _ in range(7):
        take(store, run)
        at = time.monotonic()
        for seconds in range(10, 1000, 10):
            now = time.monotonic()  # what a busy machine took is a part of the ten seconds
            let_pass(store, 10 - (now - at))
            at = now
            if store.reconcile(decide):
                waited.append(seconds)
                break
    assert waited == [30, 60, 120, 240, 480, 600, 600]


def test_a_step_that_was_taken_up_is_waited_for_as_briefly_as_the_first_time(store: RunStore) -> None:
    run = new_run(store)
    for wait in (31, 61):
        take(store, run)
        let_pass(store, wait)
        assert store.reconcile(decide)
    claimed(store, take(store, run)[0])
    let_pass(store, 16)
    assert store.reconcile(decide)
    take(store, run)
    let_pass(store, 31)
    assert store.reconcile(decide)


def test_a_message_overtaken_by_a_later_one_is_lost_after_the_grace(store: RunStore) -> None:
    run = new_run(store, [upload(0), upload(1), upload(2)])
    first, second, third = take(store, run)
    do(store, second)
    let_pass(store, 1)
    assert store.reconcile(decide) == [], "a worker may be about to claim it"
    let_pass(store, 5)
    assert store.reconcile(decide) == [run.id]
    assert events(store, "reconcile.lost") == [str(first.step)]
    assert state_of(store, run, third.step) is StepState.SENT


def test_a_message_of_another_run_overtakes_too(store: RunStore) -> None:
    lost, other = new_run(store, [upload(0)]), new_run(store, [upload(0)])
    take(store, lost)
    do(store, take(store, other)[0])
    let_pass(store, 6)
    assert lost.id in store.reconcile(decide)


def test_another_queue_overtakes_nothing(store: RunStore) -> None:
    run = new_run(store, [upload(0), capture(0)])
    earlier, later = take(store, run)
    assert (earlier.step, later.step) == (upload(0), capture(0))
    claimed(store, later)
    let_pass(store, 6)
    assert store.reconcile(decide) == []


@pytest.mark.parametrize(("queues", "lost"), [({}, False), ({"upload": "q", "capture": "q"}, True)])
def test_a_step_of_another_kind_overtakes_if_the_same_queue_carries_it(
    store: RunStore, queues: dict[str, str], lost: bool
) -> None:
    queue_of = {StepKind(kind): queue for kind, queue in queues.items()}
    run = new_run(store, [upload(0), capture(0)])
    _, later = take(store, run)
    claimed(store, later)
    let_pass(store, 6)
    assert (store.reconcile(decide, queues=queue_of) == [run.id]) is lost


def test_what_is_queued_behind_many_others_is_not_sent_again(store: RunStore) -> None:
    run = new_run(store, [upload(piece) for piece in range(60)])
    queued = take(store, run)
    for ticket in queued:
        let_pass(store, 20)
        assert store.reconcile(lambda *_: StepConsequence()) == []
        store.finish(claimed(store, ticket), {}, lambda *_: StepConsequence())
    assert events(store, "reconcile.lost") == []


def test_what_is_queued_behind_one_long_step_is_not_sent_again(store: RunStore) -> None:
    run = new_run(store, [upload(0), upload(1)])
    first, _second = take(store, run)
    claim = claimed(store, first)
    for _ in range(20):
        let_pass(store, 14)
        assert store.renew(claim)
        assert store.reconcile(decide) == []
    let_pass(store, 14)
    store.renew(claim)
    let_pass(store, 14)
    store.renew(claim)
    assert store.reconcile(decide) == [run.id], "not for ever: it may be lost all the same"


def test_a_lease_that_ran_out_makes_its_step_ready(store: RunStore) -> None:
    (claim,) = start(store, [capture(0)])
    run = claim.ticket.run
    let_pass(store, 8)
    assert store.reconcile(decide) == []
    let_pass(store, 8)
    assert store.reconcile(decide) == [run]
    assert events(store, "reconcile.expired") == ["capture/0"]
    assert claimed(store, take(store, run)[0]).attempt == 2


def test_a_lease_renewed_just_before_is_left_alone(store: RunStore) -> None:
    (claim,) = start(store, [capture(0)])
    let_pass(store, 16)
    with store._database.reading() as conn:
        stuck = recovery._stuck(conn, LossPatience(), {})
    assert store.renew(claim)
    with store._database.writing() as conn:
        for run, found in stuck.items():
            recovery._mend(
                conn, run, found, decide=decide, patience=LossPatience(), exhausted=recovery.given_up
            )
    assert state_of(store, claim.ticket.run, capture(0)) is StepState.RUNNING


def test_a_step_sent_again_meanwhile_is_left_alone(store: RunStore) -> None:
    run = new_run(store)
    take(store, run)
    let_pass(store, 31)
    with store._database.reading() as conn:
        stuck = recovery._stuck(conn, LossPatience(), {})
    store.reconcile(decide)
    (ticket,) = take(store, run)
    with store._database.writing() as conn:
        recovery._mend(
            conn, run.id, stuck[run.id], decide=decide, patience=LossPatience(), exhausted=recovery.given_up
        )
    assert store.claim(ticket, owner="worker") is not None


def test_a_step_that_was_tried_and_sent_again_overtakes_nothing(store: RunStore) -> None:
    run = new_run(store, [upload(0), upload(1)])
    tried, queued = take(store, run)
    store.fail(claimed(store, tried), "the target did not answer", retry_in=0, decide=decide)
    let_pass(store, 4)
    (again,) = take(store, run)
    assert again.dispatch > queued.dispatch
    let_pass(store, 4)
    assert store.reconcile(decide) == [], "the later number waits behind the earlier one"


def use_up(store: RunStore, run: Run, step: RunStep) -> list[str]:
    """Start a step five times, each time dying; return what reconcile said the last time."""
    due: list[str] = []
    for _ in range(5):
        tickets = {ticket.step: ticket for ticket in take(store, run)}
        claimed(store, tickets[step])
        let_pass(store, 16)
        due = store.reconcile(decide)
    return due


def test_five_starts_without_an_outcome_poison_a_step_and_fail_the_run(store: RunStore) -> None:
    run = new_run(store, [capture(3)])
    assert use_up(store, run, capture(3)) == [run.id]
    assert state_of(store, run, capture(3)) is StepState.POISONED
    ended = work_off(store, run)
    assert ended.state is RunState.FAILED
    assert ended.error is not None
    assert ended.error.startswith("capture/3: 5 starts without an outcome")


def test_five_starts_of_a_replica_miss_it_and_lead_on(store: RunStore) -> None:
    run = new_run(store, [upload(0, "b")])
    assert use_up(store, run, upload(0, "b")) == [run.id]
    assert state_of(store, run, upload(0, "b")) is StepState.MISSED
    assert work_off(store, run).state is RunState.DEGRADED


def test_a_report_that_kills_its_worker_still_ends_the_run(store: RunStore) -> None:
    run = new_run(store, [REPORT])
    assert use_up(store, run, REPORT) == []
    assert store.load(run.id).state is RunState.FAILED


def test_a_cancelled_run_whose_report_kills_its_worker_ends_as_cancelled(store: RunStore) -> None:
    run = new_run(store)
    store.cancel(run.id)
    use_up(store, run, REPORT)
    assert store.load(run.id).state is RunState.CANCELLED


def test_the_caller_says_what_an_exhausted_step_becomes(store: RunStore) -> None:
    run = new_run(store)
    for _ in range(5):
        claimed(store, take(store, run)[0])
        let_pass(store, 16)
        store.reconcile(decide, exhausted=lambda _run, _step: StepState.MISSED)
    assert state_of(store, run, PLAN) is StepState.MISSED


def test_a_run_with_nothing_left_to_do_fails_instead_of_waiting(store: RunStore) -> None:
    (claim,) = start(store, [PLAN])
    run, _ = store.finish(claim, {}, lambda *_: StepConsequence())
    assert store.reconcile(decide) == [run.id]
    ended = work_off(store, run)
    assert (ended.state, ended.error) == (
        RunState.FAILED,
        "nothing was left to do, and the run had not ended",
    )


def test_a_report_without_a_verdict_fails_the_run_instead_of_waiting(store: RunStore) -> None:
    (claim,) = start(store, [REPORT])
    run, _ = store.finish(claim, {}, lambda *_: StepConsequence())
    assert store.reconcile(decide) == []
    assert store.load(run.id).state is RunState.FAILED


def test_a_run_that_ended_is_left_alone(store: RunStore) -> None:
    run = new_run(store, [REPORT, upload(0)])
    tickets = {ticket.step: ticket for ticket in take(store, run)}
    do(store, tickets[REPORT])
    let_pass(store, 86400)
    assert store.reconcile(decide) == []
    assert store.load(run.id).state is RunState.DONE


def test_a_verdict_that_cannot_be_reached_does_not_stop_the_others(store: RunStore) -> None:
    def fragile(run: Run, tally: Tally, step: RunStep) -> StepConsequence:
        raise KeyError(run.facts["edited away"])

    broken, healthy = new_run(store, [upload(0)]), new_run(store)
    due: list[str] = []
    for _ in range(5):
        claimed(store, {t.step: t for t in take(store, broken)}[upload(0)])
        let_pass(store, 16)
        due = store.reconcile(fragile)
    assert due == [healthy.id]


def test_patience_is_a_setting(url: str) -> None:
    store = RunStore(url, patience=LossPatience(lease=1, idle=2, starts=1))
    run = new_run(store)
    take(store, run)
    let_pass(store, 3)
    assert store.reconcile(decide) == [run.id]
    claimed(store, take(store, run)[0])
    let_pass(store, 2)
    store.reconcile(decide)
    assert state_of(store, run, PLAN) is StepState.POISONED
    store.close()


def test_a_row_moved_by_hand_into_the_past_is_only_sent_again(store: RunStore) -> None:
    run = new_run(store)
    take(store, run)
    with store._database.writing() as conn:
        conn.execute(update(tables.steps).values(sent_at=None))
    assert store.reconcile(decide) == [run.id]


@pytest.mark.parametrize("stands", ["ready", "sent"])
def test_a_step_that_was_left_out_as_its_run_was_cancelled_keeps_it_from_ending_no_more(
    store: RunStore, stands: str
) -> None:
    run = new_run(store, [upload(0)])
    store.cancel(run.id)
    edit(store, upload(0), state=stands)
    with store._database.writing() as conn:
        conn.execute(delete(tables.steps).where(tables.steps.c.kind == StepKind.REPORT.value))
    if stands == "ready":
        store.cancel(run.id)
    else:
        let_pass(store, 3600)
        store.reconcile(decide)
    assert work_off(store, run).state is RunState.CANCELLED


# -- many at once, and rows that lie ------------------------------------------


def counted_commits(store: RunStore) -> list[int]:
    """Return a list that gets, for each commit, how many rows of ``steps`` were written before it."""
    written: list[int] = [0]

    def executed(_conn: object, cursor: Any, statement: str, *_: object) -> None:
        written[-1] += statement.startswith("UPDATE steps")

    engine = store._database.engine
    event.listen(engine, "after_cursor_execute", executed)
    event.listen(engine, "commit", lambda _conn: written.append(0))
    return written


def test_many_lost_steps_are_put_right_in_slices_between_which_others_write(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(store, [upload(piece, target) for piece in range(400) for target in ("a", "b", "c")])
    take(store, run)
    let_pass(store, 31)
    begin = sql.begin_writing

    def after_others(database: Any) -> Any:
        with begin(database) as conn:
            catalog.append(conn, "in between", None, {})
        return begin(database)

    monkeypatch.setattr(engine, "begin_writing", after_others)
    written = counted_commits(store)
    assert store.reconcile(decide) == [run.id]
    monkeypatch.undo()
    assert sum(written) == 1_200
    assert max(written) <= recovery.SLICE
    assert len(store.events(kind="in between")) >= 4
    assert sum(event.detail["steps"] for event in store.events(kind="reconcile.lost")) == 1_200


def test_a_reconcile_that_took_its_turn_leaves_the_rest_to_the_next(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(store, [upload(piece) for piece in range(600)])
    take(store, run)
    let_pass(store, 31)
    monkeypatch.setattr(recovery, "SLICE_SECONDS", 0.0)  # a slice looks at nothing, and is over
    monkeypatch.setattr(recovery, "TURN_SECONDS", 0.01)
    assert store.reconcile(decide) == []
    monkeypatch.undo()
    assert store.reconcile(decide) == [run.id]
    assert len(take(store, run)) == 600


def test_steps_are_given_out_in_bounded_numbers_and_captures_keep_nothing_else_back(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MOST", 50)
    run = new_run(
        store, [capture(piece) for piece in range(60)] + [upload(piece) for piece in range(60, 130)]
    )
    given = [[ticket.step.kind for ticket in take(store, run, window=70)] for _ in range(3)]
    assert given == [[StepKind.UPLOAD] * 50, [StepKind.UPLOAD] * 20, []]


FAR = 1e18


def edit(store: RunStore, step: RunStep, **values: object) -> None:
    """Change a step's row behind the store's back."""
    with store._database.writing() as conn:
        conn.execute(update(tables.steps).where(tables.steps.c.kind == step.kind.value).values(**values))


def test_a_lease_that_ends_later_than_any_can_is_none(store: RunStore) -> None:
    (claim,) = start(store, [upload(0)])
    edit(store, upload(0), lease_expires=FAR)
    assert store.reconcile(decide) == [claim.ticket.run]
    assert events(store, "reconcile.expired") == ["upload/0/a"]


def test_another_may_claim_a_step_whose_lease_ends_later_than_any_can(store: RunStore) -> None:
    (claim,) = start(store, [upload(0)])
    assert store.claim(claim.ticket, owner="another") is None
    edit(store, upload(0), lease_expires=FAR)
    assert store.claim(claim.ticket, owner="another") is not None


def test_a_lease_without_an_end_is_none(store: RunStore) -> None:
    (claim,) = start(store, [upload(0)])
    edit(store, upload(0), lease_expires=None)
    assert store.reconcile(decide) == [claim.ticket.run]


def test_a_step_that_is_to_wait_longer_than_any_does_is_due(store: RunStore) -> None:
    run = new_run(store, [upload(0)])
    edit(store, upload(0), not_before=FAR)
    assert store.reconcile(decide) == [run.id]
    assert [ticket.step for ticket in take(store, run)] == [upload(0)]


def test_a_message_sent_in_the_future_is_lost(store: RunStore) -> None:
    run = new_run(store, [upload(0)])
    take(store, run)
    edit(store, upload(0), sent_at=FAR)
    assert store.reconcile(decide) == [run.id]


def test_a_step_started_in_the_future_says_nothing_of_its_queue(store: RunStore) -> None:
    (claim,) = start(store, [upload(0)])
    edit(store, upload(0), started_at=FAR)
    store.finish(claim, {}, lambda *_: StepConsequence(follow=(upload(1),)))
    take(store, claim.ticket.run)
    let_pass(store, 31)
    assert store.reconcile(decide) == [claim.ticket.run]


@pytest.mark.parametrize("asked", [1e9, FAR])
def test_no_lease_is_given_that_would_count_as_none(store: RunStore, asked: float) -> None:
    run = new_run(store, [upload(0)])
    (ticket,) = take(store, run)
    claim = store.claim(ticket, owner="worker", lease=asked)
    assert claim is not None
    assert store.renew(claim, lease=asked)
    assert store.reconcile(decide) == []
    assert store.claim(ticket, owner="another") is None
