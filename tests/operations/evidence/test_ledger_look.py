"""A look at a long ledger reads what is new, and all of it once a day: what was changed in it is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, update

from strongroom.operations.evidence import ledger
from strongroom.operations.evidence.ledger import WHOLE_EVERY, LedgerLook, look
from strongroom.state import tables
from strongroom.state.store import RunStore

EVENTS, LONG = 100, 20
NOW = 1_000_000.0
TOMORROW = NOW + WHOLE_EVERY
ALL = LedgerLook(events=EVENTS)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    monkeypatch.setattr(ledger, "LONG", LONG)
    store = RunStore(f"sqlite:///{tmp_path / 'state.db'}")
    store.append(("a.b", {"n": number}) for number in range(EVENTS))
    return store


def edit(store: RunStore, number: int) -> None:
    with store._database.writing() as conn:
        conn.execute(update(tables.events).where(tables.events.c.id == number).values(detail='{"n":-1}'))


def remove(store: RunStore, number: int) -> None:
    with store._database.writing() as conn:
        conn.execute(delete(tables.events).where(tables.events.c.id == number))


def test_all_is_read_once_a_day_and_what_is_new_at_each_look(store: RunStore, tmp_path: Path) -> None:
    assert look(store, tmp_path, now=NOW) == ALL
    store.event("c.d")
    seen = LedgerLook(events=EVENTS + 1, fresh=1, whole_at=NOW)
    assert look(store, tmp_path, now=NOW + 1) == look(store, tmp_path, now=TOMORROW - 1) == seen
    assert look(store, tmp_path, now=TOMORROW) == LedgerLook(events=EVENTS + 1)
    assert look(store, tmp_path, now=TOMORROW + 1).whole_at == TOMORROW


def test_a_short_record_is_always_read_whole_and_nothing_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LONG", LONG)
    store = RunStore(f"sqlite:///{tmp_path / 'state.db'}")
    store.append(("a.b", {}) for _ in range(LONG))
    assert look(store, tmp_path, now=NOW) == look(store, tmp_path, now=NOW + 1) == LedgerLook(events=LONG)
    assert not (tmp_path / "ledger-read.json").exists()


@pytest.mark.parametrize("number", [1, 2, 50, 99])
@pytest.mark.parametrize("done", [edit, remove])
def test_what_was_changed_long_ago_is_found_within_a_day_and_by_each_look_from_then_on(
    store: RunStore, tmp_path: Path, number: int, done: Callable[[RunStore, int], None]
) -> None:
    look(store, tmp_path, now=NOW)
    store.event("c.d")
    done(store, number)
    named = number if done is edit else number + 1
    found = [look(store, tmp_path, now=TOMORROW + seconds).broken for seconds in (0, 1, 2, WHOLE_EVERY)]
    assert found == [named] * 4


def test_new_events_are_all_read_and_a_changed_one_stays_found(store: RunStore, tmp_path: Path) -> None:
    look(store, tmp_path, now=NOW)
    store.append(("e.f", {"n": number}) for number in range(3 * LONG))
    edit(store, EVENTS + LONG)
    assert [look(store, tmp_path, now=NOW + seconds).broken for seconds in (1, 2)] == [EVENTS + LONG] * 2


def memory(**changed: object) -> bytes:
    """Return what is remembered of all of the record, but for what is changed."""
    kept = {"at": NOW, "event": EVENTS, "sha256": "0" * 64, "events": EVENTS}
    return msgspec.json.encode(kept | changed)


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"{}",
        b"[1]",
        memory(),
        memory(event=0),
        memory(event=-(2**62)),
        memory(event=2**63 - 1),
        memory(event=2**63),
        memory(at="x"),
    ],
)
def test_an_odd_memory_or_one_of_another_record_is_not_believed(
    store: RunStore, tmp_path: Path, kept: bytes
) -> None:
    edit(store, 3)
    (tmp_path / "ledger-read.json").write_bytes(kept)
    assert look(store, tmp_path, now=NOW) == LedgerLook(events=EVENTS, broken=3)


def test_a_memory_of_the_future_is_not_believed(store: RunStore, tmp_path: Path) -> None:
    look(store, tmp_path, now=TOMORROW)
    edit(store, 3)
    assert look(store, tmp_path, now=NOW).broken == 3


def test_a_record_that_was_cut_or_made_anew_is_read_whole(store: RunStore, tmp_path: Path) -> None:
    look(store, tmp_path, now=NOW)
    edit(store, 3)
    remove(store, EVENTS)
    assert look(store, tmp_path, now=NOW + 1).broken == 3


def test_a_run_whose_events_are_gone_is_missed_within_a_day(store: RunStore, tmp_path: Path) -> None:
    look(store, tmp_path, now=NOW)
    with store._database.writing() as conn:
        row = {"id": "x", "kind": "backup", "policy": "p", "spec": "{}", "state": "done", "closing": False}
        conn.execute(tables.runs.insert().values(**row, facts="{}", created_at=1.0))
    assert look(store, tmp_path, now=TOMORROW).broken is not None


def test_a_disk_that_takes_nothing_costs_time_and_hides_nothing(store: RunStore, tmp_path: Path) -> None:
    nowhere = tmp_path / "not-there"
    assert look(store, nowhere, now=NOW) == ALL
    edit(store, 3)
    assert look(store, nowhere, now=NOW + 1).broken == 3
