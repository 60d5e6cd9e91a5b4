"""Refused messages are counted, logged and recorded, and a flood of them does not spread."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.operations.errors import MessageRefused
from strongroom.state.errors import StateUnavailable
from strongroom.state.store import RunStore
from workers.refusals import Refusals, admit


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    store = RunStore(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


def test_a_refusal_is_counted_logged_and_recorded(store: RunStore, caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(store.event, pool="seal")

    with caplog.at_level(logging.ERROR):
        refusals.refuse(MessageRefused("an unsigned message"), where="seal", size=12)

    (event,) = store.events(kind=MessageRefused.event)
    assert event.detail == {
        "reason": "an unsigned message",
        "count": 1,
        "pool": "seal",
        "where": "seal",
        "size": 12,
    }
    assert refusals.count == 1
    assert "message-refused" in caplog.text


def test_a_flood_leaves_few_events_whose_counts_add_up(store: RunStore) -> None:
    refusals = Refusals(store.event, pool="seal")

    for _ in range(500):
        refusals.refuse(MessageRefused("an unsigned message"), where="seal")
    refusals.flush()

    events = store.events(kind=MessageRefused.event)
    assert sum(event.detail["count"] for event in events) == refusals.count == 500
    assert len(events) < 50


def test_a_refusal_that_cannot_be_recorded_now_is_recorded_later(store: RunStore) -> None:
    down = True

    def record(kind: str, **detail: object) -> None:
        if down:
            raise StateUnavailable("down")
        store.event(kind, **detail)

    refusals = Refusals(record, pool="seal")
    refusals.refuse(MessageRefused("an unsigned message"), where="seal")
    assert store.events(kind=MessageRefused.event) == []

    down = False
    refusals.refuse(MessageRefused("an unsigned message"), where="seal")

    (event,) = store.events(kind=MessageRefused.event)
    assert event.detail["count"] == 2


@pytest.mark.parametrize(
    "error",
    [RecursionError(), ValueError("Exceeds the limit"), KeyError("x"), OSError(), Exception()],
)
def test_whatever_input_raises_is_a_refusal(error: Exception) -> None:
    refused: list[MessageRefused] = []

    def read() -> None:
        raise error

    assert admit(read, refused.append) is None
    assert [each.message for each in refused] == [f"an unreadable message ({type(error).__name__})"]


@pytest.mark.parametrize("error", [ConnectionResetError, MemoryError])
def test_what_says_nothing_of_the_input_passes(error: type[Exception]) -> None:
    def read() -> None:
        raise error

    with pytest.raises(error):
        admit(read, lambda _: None, passing=(OSError,))


def test_ever_new_reasons_fill_neither_memory_nor_the_record(store: RunStore) -> None:
    refusals = Refusals(store.event, pool="seal")

    for number in range(1000):
        refusals.refuse(MessageRefused(f"reason {number}"), where="seal")
    refusals.flush()

    events = store.events(kind=MessageRefused.event)
    assert sum(event.detail["count"] for event in events) == 1000
    assert len(events) < 150


def test_a_refusal_that_cannot_be_recorded_for_any_reason_ends_no_process() -> None:
    def record(kind: str, **detail: object) -> None:
        raise RuntimeError

    Refusals(record, pool="seal").refuse(MessageRefused("an unsigned message"), where="seal")
