"""The head of the event record: what was printed tells later whether anything before it changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from strongroom.operations.eventhead import event_head
from strongroom.state.store import RunStore


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    made = RunStore(f"sqlite:///{tmp_path / 'state.db'}")
    for number in range(5):
        made.event("key.proven", key=f"k{number}", when={"b": 1, "a": 2})
    return made


def test_a_head_is_found_again_after_more_has_happened(store: RunStore) -> None:
    printed = event_head(store)
    assert printed is not None
    store.event("key.failed", key="k9")
    later = event_head(store)
    assert later is not None
    assert later.id > printed.id
    assert event_head(store, upto=printed.id) == printed
    assert event_head(store, upto=99) is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET kind = 'key.failed' WHERE id = 2",
        "UPDATE events SET at = at + 1 WHERE id = 3",
        "DELETE FROM events WHERE id = 1",
    ],
)
def test_whatever_was_changed_before_it_shows(store: RunStore, tmp_path: Path, change: str) -> None:
    printed = event_head(store)
    assert printed is not None
    with create_engine(f"sqlite:///{tmp_path / 'state.db'}").begin() as connection:
        assert connection.execute(text(change)).rowcount == 1
    assert event_head(store, upto=printed.id) != printed


def test_where_nothing_happened_there_is_no_head(tmp_path: Path) -> None:
    assert event_head(RunStore(f"sqlite:///{tmp_path / 'other.db'}")) is None
