"""A database that takes a change and does not make it is noticed at each write."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text

from strongroom.state.errors import StateUnkept
from strongroom.state.records import Claim, RunState, StepConsequence, Ticket
from strongroom.state.store import RunStore
from tests.state.pipeline import claimed, decide, let_pass, new_run, take, upload

IGNORES = {
    "sqlite": ("CREATE TRIGGER ignore BEFORE UPDATE ON {} BEGIN SELECT RAISE(IGNORE); END",),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER ignore BEFORE UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION nothing()",
    ),
}
HEEDS = {"sqlite": "DROP TRIGGER ignore", "postgresql": "DROP TRIGGER ignore ON {}"}


def ignore(store: RunStore, kind: str, table: str) -> None:
    """Have the database ignore every change of a table's rows."""
    with store._database.writing() as conn:
        for statement in IGNORES[kind]:
            conn.execute(text(statement.format(table)))


def heed(store: RunStore, kind: str, table: str) -> None:
    with store._database.writing() as conn:
        conn.execute(text(HEEDS[kind].format(table)))


WRITES: dict[str, Callable[[RunStore, Ticket, Claim], object]] = {
    "claim": lambda store, ticket, _: store.claim(ticket, owner="worker"),
    "finish": lambda store, _, held: store.finish(held, {}, lambda *_: StepConsequence()),
    "fail": lambda store, _, held: store.fail(held, "no", retry_in=1.0, decide=decide),
    "take_ready": lambda store, ticket, _: store.take_ready(ticket.run, window=10),
    "reconcile": lambda store, ticket, _: store.reconcile(decide, strict=ticket.run),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_step_that_does_not_change_is_an_error(store: RunStore, kind: str, write: str) -> None:
    steps = [upload(piece) for piece in range(3)]
    run = new_run(store, steps[:2])
    held, sent = take(store, run)
    claim = claimed(store, held)
    store.finish(claim, {}, lambda *_: StepConsequence(follow=(steps[2],)))
    (ready,) = [row for row in store.rows(run.id) if row.step == steps[2]]
    assert ready.state.value == "ready"
    other = new_run(store, [upload(0)])
    (again,) = take(store, other)
    holding = claimed(store, again)
    if write == "reconcile":
        let_pass(store, 3600)
    ignore(store, kind, "steps")
    try:
        with pytest.raises(StateUnkept, match="did not keep a change to step upload"):
            WRITES[write](store, sent, holding)
    finally:
        heed(store, kind, "steps")


def test_a_run_that_does_not_change_is_an_error(store: RunStore, kind: str) -> None:
    run = new_run(store, [upload(0)])
    (ticket,) = take(store, run)
    ignore(store, kind, "runs")
    try:
        with pytest.raises(StateUnkept, match=f"change to run {run.id}"):
            store.finish(claimed(store, ticket), {}, lambda *_: StepConsequence(state=RunState.DONE))
    finally:
        heed(store, kind, "runs")


def test_a_reconcile_that_is_not_about_the_run_goes_on_with_the_others(store: RunStore, kind: str) -> None:
    run = new_run(store, [upload(0)])
    take(store, run)
    let_pass(store, 3600)
    other = new_run(store, [upload(0)])
    ignore(store, kind, "steps")
    try:
        assert other.id in store.reconcile(decide)
    finally:
        heed(store, kind, "steps")
