"""Creating and finding runs."""

from __future__ import annotations

import re
import time

import pytest
from sqlalchemy import update

from strongroom.model import Selection
from strongroom.state import tables
from strongroom.state.errors import RunNotFound, StateError
from strongroom.state.records import RecipientPin, RunKind, RunState, Spec, StepKind, StepState, TargetPin
from strongroom.state.store import RunStore
from tests.state.pipeline import (
    COMMIT,
    PLAN,
    SPEC,
    capture,
    decide,
    decide_again,
    do,
    let_pass,
    new_run,
    take,
    upload,
)


def test_a_run_is_read_back_exactly_as_it_was_frozen(store: RunStore) -> None:
    spec = Spec(
        kind=RunKind.BACKUP,
        policy="weekly",
        source="local",
        selection=Selection(include=("prod/*",), tags={"tier": "critical"}),
        targets=(TargetPin(name="a", address="/srv/a", region="eu-1", provider="directory"),),
        recipients=(
            RecipientPin(name="r", type="hpke", fingerprint="f", post_quantum=True, describes="X-Wing"),
        ),
        options={"deep": [1, {"x": None}], "ratio": 0.25},
    )
    run = store.create(spec, first=[PLAN], request_id="celery-task-id", facts={"by": "cli"})
    assert run is not None
    assert store.load(run.id) == run
    assert run.spec == spec
    assert (run.state, run.facts, run.closing) == (RunState.ACTIVE, {"by": "cli"}, False)


def test_run_ids_begin_with_the_time_and_differ(store: RunStore) -> None:
    ids = {new_run(store).id for _ in range(5)}
    assert len(ids) == 5
    assert all(re.fullmatch("[0-9]{8}T[0-9]{12}Z-[0-9a-f]{8}", name) for name in ids)


def test_the_ids_of_runs_made_within_a_second_ascend_as_the_runs_were_made(store: RunStore) -> None:
    """Chance, in the last eight digits, told which of two quick backups was the newest."""
    ids = []
    for _ in range(20):
        run = new_run(store)
        ids.append(run.id)
        while time.time() < run.created_at + 0.002:
            pass  # the databases' clocks count milliseconds
    assert ids == sorted(ids)


def test_the_same_request_makes_one_run(store: RunStore) -> None:
    first = store.create(SPEC, first=[PLAN], request_id="abc")
    second = store.create(SPEC, first=[PLAN, COMMIT], request_id="abc")
    assert first is not None
    assert second == first
    assert len(store.rows(first.id)) == 1
    assert store.find("abc") == store.find(first.id) == first


def test_a_slot_makes_one_run_and_its_loser_leaves_nothing(store: RunStore) -> None:
    assert store.create(SPEC, first=[PLAN], slot=("weekly", 1000.5)) is not None
    assert store.create(SPEC, first=[PLAN], slot=("weekly", 1000.5)) is None
    assert len(store.runs()) == 1
    assert store.create(SPEC, first=[PLAN], slot=("weekly", 2000.5)) is not None
    assert store.create(SPEC, first=[PLAN], slot=("daily", 1000.5)) is not None
    assert (store.newest_slot("weekly"), store.newest_slot("monthly")) == (2000.5, None)


def test_runs_are_listed_newest_first(store: RunStore) -> None:
    made = [new_run(store) for _ in range(3)]
    with store._database.writing() as conn:
        for age, run in enumerate(reversed(made)):
            conn.execute(update(tables.runs).where(tables.runs.c.id == run.id).values(created_at=1e9 - age))
    assert [run.id for run in store.runs(2)] == [made[2].id, made[1].id]


def test_a_run_that_is_not_there_is_run_not_found(store: RunStore) -> None:
    name = "20261125T000000Z-00000000"
    for ask in (store.load, store.find, store.cancel, lambda name: store.retry(name, decide_again)):
        with pytest.raises(RunNotFound, match=f"no run {name}"):
            ask(name)
    assert store.tally("nothing").counts == {}


def test_the_tally_counts_by_kind_target_and_state(store: RunStore) -> None:
    run = new_run(store, [capture(0), upload(1, "a"), upload(2, "a"), upload(2, "b")])
    do(store, next(ticket for ticket in take(store, run) if ticket.step == upload(1, "a")))
    tally = store.tally(run.id)
    assert tally.of(StepKind.UPLOAD) == 3
    assert tally.of(StepKind.UPLOAD, target="a", states=(StepState.DONE,)) == 1
    assert tally.unsettled(StepKind.UPLOAD) == 2
    assert tally.unsettled(StepKind.CAPTURE) == 1


def test_rows_are_in_order_and_of_one_kind_if_asked(store: RunStore) -> None:
    run = new_run(store, [upload(1, "b"), capture(10), capture(2), upload(1, "a")])
    assert [row.step for row in store.rows(run.id)] == [
        capture(2),
        capture(10),
        upload(1, "a"),
        upload(1, "b"),
    ]
    assert [row.step.piece for row in store.rows(run.id, StepKind.CAPTURE)] == [2, 10]


@pytest.mark.parametrize(
    "damage",
    [
        {"spec": "{"},
        {"spec": '{"kind":"backup"}'},
        {"spec": "CANARY-not-json"},
        {"facts": "[]"},
        {"state": "lost"},
    ],
)
def test_an_unreadable_run_is_a_state_error_that_names_it_and_shows_nothing(
    store: RunStore, damage: dict[str, str]
) -> None:
    run = new_run(store)
    with store._database.writing() as conn:
        conn.execute(update(tables.runs).values(**damage))
    with pytest.raises(StateError, match=f"unreadable run {run.id}") as caught:
        store.load(run.id)
    assert "CANARY" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("damage", [{"kind": "steal"}, {"state": "lost"}, {"result": "{"}])
def test_an_unreadable_step_is_a_state_error(store: RunStore, damage: dict[str, str]) -> None:
    run = new_run(store)
    with store._database.writing() as conn:
        conn.execute(update(tables.steps).values(**damage))
    with pytest.raises(StateError, match=f"of run {run.id}"):
        store.rows(run.id)


def test_an_unreadable_run_is_left_out_of_lists_and_named(store: RunStore) -> None:
    broken, healthy = new_run(store), new_run(store)
    with store._database.writing() as conn:
        conn.execute(update(tables.runs).where(tables.runs.c.id == broken.id).values(created_at=1e300))
    for listed in (store.runs(), store.active(), store.runs_of(SPEC.policy, RunKind.BACKUP, limit=9)):
        assert [run.id for run in listed] == [healthy.id]
    assert store.unreadable() == [f"the state database holds an unreadable run {broken.id}"]


def test_an_unreadable_run_does_not_keep_others_from_being_reconciled(store: RunStore) -> None:
    broken, healthy = new_run(store, []), new_run(store)
    with store._database.writing() as conn:
        conn.execute(update(tables.runs).where(tables.runs.c.id == broken.id).values(spec="{"))
    assert store.reconcile(decide) == [healthy.id]


def test_of_all_that_ask_for_a_turn_one_gets_it_until_it_is_over(store: RunStore) -> None:
    assert [store.take_turn("tick", every=30.0) for _ in range(3)] == [True, False, False]
    let_pass(store, 31)
    assert [store.take_turn("tick", every=30.0) for _ in range(2)] == [True, False]
    let_pass(store, -1e9)
    assert store.take_turn("tick", every=30.0), "one taken in the future keeps nobody back"


def test_a_lease_is_its_owners_as_long_as_it_is_renewed(store: RunStore) -> None:
    def take(owner: str) -> str:
        return store.take_lease("beat", owner, seconds=8.0)

    assert [take("first"), take("second"), take("first")] == ["first", "first", "first"]
    let_pass(store, 5)
    assert take("first") == "first"
    let_pass(store, 4)
    assert take("second") == "first", "it was renewed four seconds ago"
    let_pass(store, 5)
    assert [take("second"), take("first")] == ["second", "second"]
    store.release_lease("beat", "first")
    assert take("first") == "second", "only its owner gives it back"
    store.release_lease("beat", "second")
    assert take("first") == "first"
    let_pass(store, -1e9)
    assert take("second") == "second", "one renewed in the future keeps nobody back"


@pytest.mark.parametrize("at", [1e300, 4e9, -1.0])
def test_a_heartbeat_at_no_time_or_in_the_future_makes_nothing_look_alive(store: RunStore, at: float) -> None:
    store.heartbeat("beat")
    with store._database.writing() as conn:
        conn.execute(update(tables.heartbeats).values(at=at))
    assert store.heartbeats() == {}


def test_who_was_alive_by_a_clock_that_was_ahead_is_missed_from_the_next_turn_on(store: RunStore) -> None:
    store.heartbeat("beat")
    let_pass(store, -2 * 86_400)
    assert store.heartbeats() == {}
    store.take_turn("reconcile", every=15.0)
    assert store.heartbeats()["beat"] < 15
    let_pass(store, 120)
    assert store.heartbeats()["beat"] > 100
