"""What people were told, on both databases."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace
from sqlalchemy import text

from strongroom.operations.notify.notify import gather_and_judge
from strongroom.state.notes import NotifiedAlert
from strongroom.state.records import RunKind
from strongroom.state.store import RunStore
from tests.operations.alerts.test_gather import LIMITS, watching
from tests.operations.world import POLICY, make_world
from tests.state.pipeline import PLAN, SPEC

ONE = NotifiedAlert(
    key="backup.failed:p", severity="critical", weight=2, what="failed", first_seen=1.5, sent_at=2.5
)
TWO = replace(ONE, key="backup.slow:p", severity="warning", sent_at=None)


def test_what_was_told_is_kept_for_each_audience(store: RunStore) -> None:
    store.put_told("a", [ONE, TWO], forget=0.0)
    store.put_told("b", [TWO], forget=0.0)
    assert (store.told("a"), store.told("b"), store.told("c")) == ([ONE, TWO], [TWO], [])


def test_what_is_told_again_takes_the_place_of_what_was(store: RunStore) -> None:
    store.put_told("a", [ONE], forget=0.0)
    worse = replace(ONE, weight=3, sent_at=9.0)
    store.put_told("a", [worse], forget=0.0)
    assert store.told("a") == [worse]


def test_what_has_been_over_for_long_is_forgotten_and_nothing_else(store: RunStore) -> None:
    store.put_told("a", [ONE, replace(TWO, resolved_at=50.0)], forget=0.0)
    store.put_told("b", [replace(TWO, resolved_at=50.0)], forget=0.0)
    store.put_told("a", [], forget=51.0)
    assert store.told("a") == [ONE]
    assert len(store.told("b")) == 1


def test_an_alert_whose_row_was_edited_counts_as_never_told(store: RunStore) -> None:
    store.put_told("a", [ONE, replace(ONE, key="another")], forget=0.0)
    with store._database.writing() as conn:
        if conn.dialect.name == "postgresql":
            return  # its columns take nothing that is not of their type
        conn.execute(text("UPDATE alerts SET first_seen = 'CANARY' WHERE key <> 'another'"))
    assert [one.key for one in store.told("a")] == ["another"]


def test_the_whole_look_is_the_same_on_either_database(url: str, tmp_path: Path) -> None:
    world = make_world(tmp_path, database=url)
    overdue = [alert.key for alert in gather_and_judge(watching(world), LIMITS).alerts]
    world.back_up()
    assert (overdue, gather_and_judge(watching(world), LIMITS).alerts) == ([f"backup.overdue:{POLICY}"], ())


def test_events_are_found_by_kind_and_time(store: RunStore) -> None:
    for kind in ("x", "y", "z"):
        store.event(kind)
    found = store.happened("x", "z", since=0.0)
    assert [event.kind for event in found] == ["x", "z"]
    assert store.happened("x", "z", since=found[-1].at + 60.0) == []


def test_runs_are_found_by_policy_and_kind_and_by_whom_they_seal_for(store: RunStore) -> None:
    first = store.create(SPEC, first=[PLAN])
    second = store.create(SPEC, first=[PLAN])
    store.create(replace(SPEC, kind=RunKind.VERIFY), first=[PLAN])
    store.create(replace(SPEC, policy="another"), first=[PLAN])
    assert first is not None
    assert second is not None
    found = store.runs_of(SPEC.policy, RunKind.BACKUP, limit=10)
    assert {run.id for run in found} == {first.id, second.id}
    assert store.sealed_since(SPEC.policy, "no%such_fingerprint") is None
    assert store.sealed_since(SPEC.policy, SPEC.policy) == min(first.created_at, second.created_at)
