"""Pauses, and what became of slots."""

from __future__ import annotations

from strongroom.state.records import Pause, RunKind, RunStep, Slot, Spec, StepKind
from strongroom.state.store import RunStore

SPEC = Spec(kind=RunKind.BACKUP, policy="weekly")
PLAN = RunStep(StepKind.PLAN)
PAUSE = Pause(entry="weekly", reason="the vault moves", by="ann@ops", since=1000.0, until=2000.0)


def test_a_pause_is_on_record_until_it_is_ended_and_both_are_events(store: RunStore) -> None:
    store.pause(PAUSE)
    assert store.pauses() == [PAUSE]
    assert store.resume("weekly", reason="it has moved", by="bob@ops")
    assert store.pauses() == []
    assert not store.resume("weekly", reason="again", by="bob@ops")
    assert [(event.kind, event.detail) for event in store.events()] == [
        (
            "schedule.paused",
            {"entry": "weekly", "reason": "the vault moves", "by": "ann@ops", "until": 2000.0},
        ),
        ("schedule.resumed", {"entry": "weekly", "reason": "it has moved", "by": "bob@ops"}),
    ]


def test_a_second_pause_of_an_entry_takes_the_place_of_the_first(store: RunStore) -> None:
    later = Pause(entry="weekly", reason="longer than thought", by="ann@ops", since=1500.0)
    store.pause(PAUSE)
    store.pause(later)
    assert store.pauses() == [later]


def test_a_pause_ends_by_itself_at_its_end(store: RunStore) -> None:
    assert PAUSE.holds(1999.9)
    assert not PAUSE.holds(2000.0)
    assert Pause(entry="weekly", reason="", by="", since=0.0).holds(9e9)


def test_the_last_slot_of_an_entry_is_found_among_those_of_its_subjects_too(store: RunStore) -> None:
    run = {}
    for name, due in (("repair", 10.0), ("repair A", 30.0), ("repair B", 20.0), ("repairs", 40.0)):
        made = store.create(SPEC, first=[PLAN], slot=(name, due))
        assert made is not None
        run[name] = made.id
    assert store.last_claimed("repair") == Slot(name="repair A", due_at=30.0, run=run["repair A"])
    assert store.last_claimed("repair", others=["repair A"]) == Slot(
        name="repair B", due_at=20.0, run=run["repair B"]
    )
    assert store.last_claimed("prune") is None


def test_the_first_run_on_record_says_since_when_anybody_could_miss_a_slot(store: RunStore) -> None:
    assert store.first_run_at() is None
    first = store.create(SPEC, first=[PLAN])
    store.create(SPEC, first=[PLAN])
    assert first is not None
    assert store.first_run_at() == first.created_at
