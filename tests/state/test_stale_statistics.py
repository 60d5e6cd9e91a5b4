"""PostgreSQL chooses how to find rows by what it counted last, and a run of very many steps comes after that.

Nothing may then compare each step with each run, or with each other step, or look for one step among all of
its kind. What is looked at is the plan of each statement, for a test that reads the clock fails on a busy
machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from strongroom.state.records import Run, RunStep, StepKind
from strongroom.state.store import RunStore
from tests.postgres import PostgresServer
from tests.state.pipeline import decide, new_run, take, upload

FEW, MANY, RUNS = 2, 3_000, 300


@pytest.fixture
def store(emptied_database: str) -> Iterator[RunStore]:
    store = RunStore(emptied_database)
    yield store
    store.close()


@pytest.fixture
def large(store: RunStore, emptied_database: str, postgres_server: PostgresServer) -> Run:
    """A run of very many steps, beside many of few steps that PostgreSQL has counted."""
    for _ in range(RUNS):
        new_run(store, [*map(upload, range(FEW)), *map(verification, range(FEW))])
    postgres_server.execute("ANALYZE steps, runs", url=emptied_database)
    return new_run(store, [*map(verification, range(MANY))])


def verification(piece: int) -> RunStep:
    return RunStep(StepKind.VERIFY, piece, "a")


def plans(store: RunStore, action: Callable[[], object]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return each statement about steps that an action makes, with the nodes of its plan."""
    found: list[tuple[str, list[dict[str, Any]]]] = []
    asking = store._database.engine.connect()

    def explain(_conn: Any, _cursor: Any, statement: str, given: Any, _context: Any, several: bool) -> None:
        verb = statement.split(maxsplit=1)[0]
        if "steps" not in statement or verb not in ("SELECT", "UPDATE", "DELETE"):
            return
        with asking.connection.driver_connection.cursor() as cursor:  # type: ignore[union-attr]
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", given[0] if several else given)
            (plan,) = cursor.fetchone()
        found.append(
            (statement, list(_nodes((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])))
        )

    event.listen(store._database.engine, "before_cursor_execute", explain)
    try:
        action()
    finally:
        event.remove(store._database.engine, "before_cursor_execute", explain)
        asking.close()
    return found


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for node in plan.get("Plans", ()):
        yield from _nodes(node)


def test_no_step_is_compared_with_each_run_or_found_among_all_of_its_kind(
    store: RunStore, large: Run
) -> None:
    def live() -> None:
        take(store, large)
        store.reconcile(decide)
        store.cancel(large.id)

    asked = plans(store, live)
    kinds = {statement.split(maxsplit=1)[0] for statement, _ in asked}
    assert kinds == {"SELECT", "UPDATE"}
    for statement, nodes in asked:
        assert not [
            node for node in nodes if "Join" in node["Node Type"] or node["Node Type"] == "Nested Loop"
        ], statement
        if statement.startswith("UPDATE"):
            assert {node["Index Name"] for node in nodes if "Index Name" in node} == {"pk_steps"}, statement
