"""Whatever bytes lie in Redis: each entry is taken or refused, once, and nothing is raised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.keys.keyring import Keyring
from strongroom.operations.errors import OwnMessageFailed
from tests.workers.way_in import (
    BROADCAST,
    DOORS,
    QUEUE,
    UNACKED,
    WayIn,
    as_entry,
    genuine,
    may_be_taken,
    sealed,
    wrapped,
)
from workers import names

MANY = settings(max_examples=100, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def way_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WayIn]:
    keyring = Keyring(Path(tmp_path_factory.mktemp("keys")) / "roles")
    for role in names.ROLES:
        keyring.signer(role)
    made = WayIn(keyring)
    yield made
    made.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
DOOR = st.sampled_from(DOORS)
PARTS = ("body", "content-type", "content-encoding", "headers", "properties")
OPTIONS = ("method", "arguments", "destination", "pattern", "matcher", "reply_to", "ticket")


def assert_one_outcome(way_in: WayIn, door: str, entry: bytes) -> None:
    before, through = way_in.outcomes, len(way_in.taken)

    way_in.put(door, entry)

    outcomes = way_in.outcomes - before
    assert outcomes == 1 or (outcomes == 0 and door != QUEUE)  # a command may be another worker's
    assert way_in.unacknowledged == 0
    assert all(may_be_taken(task) for task in way_in.taken[through:])


def test_a_genuine_message_is_taken(way_in: WayIn) -> None:
    before = len(way_in.taken)

    way_in.put(QUEUE, as_entry(genuine(way_in.keyring)))

    assert way_in.taken[before:] == [names.RECONCILE]
    assert way_in.unacknowledged == 0


MONITOR = {
    "sentry-monitor-slug": "alerts",
    "sentry-monitor-config": {"schedule": {"type": "interval", "value": 15, "unit": "minute"}},
}
"""What Sentry's SDK puts into the headers of a message that beat sends, and once more into one of them."""


def deep(levels: int) -> Any:
    return {"a": deep(levels - 1)} if levels else [1, None, "x"]


@pytest.mark.parametrize(
    "more",
    [{**MONITOR, "headers": MONITOR}, {"headers": deep(20)}, {"x": [[1], [2]]}],
    ids=["the headers of a monitor", "deeper than any known", "lists of lists"],
)
@pytest.mark.parametrize("door", [QUEUE, UNACKED])
def test_what_one_of_ours_signed_is_taken_whatever_headers_a_library_gave_it(
    way_in: WayIn, door: str, more: dict[str, Any]
) -> None:
    before, refused = len(way_in.taken), way_in.refusals.count
    message = genuine(way_in.keyring, more=more)

    way_in.put(door, as_entry(message if door == QUEUE else [message, "", names.CONTROL]))

    assert way_in.refusals.count == refused
    assert way_in.taken[before:] == ([names.RECONCILE] if door == QUEUE else [])


@pytest.mark.parametrize("door", [QUEUE, UNACKED])
def test_the_same_headers_that_nobody_of_ours_signed_are_refused(way_in: WayIn, door: str) -> None:
    before, refused = len(way_in.taken), way_in.refusals.count
    message = genuine(way_in.keyring)
    message["headers"]["headers"] = deep(20)

    way_in.put(door, as_entry(message if door == QUEUE else [message, "", names.CONTROL]))

    assert (way_in.refusals.count, len(way_in.taken)) == (refused + 1, before)


def test_what_fails_after_its_signature_was_found_good_is_our_own_fault(way_in: WayIn) -> None:
    way_in.fails = RuntimeError("can't start new thread")
    try:
        way_in.put(QUEUE, as_entry(genuine(way_in.keyring)))
    finally:
        way_in.fails = None

    words = "this installation's own message for task 'strongroom.reconcile' (RuntimeError)"
    assert way_in.told[-1] == (OwnMessageFailed.event, words)


def test_a_signed_command_to_look_is_obeyed(way_in: WayIn) -> None:
    before = len(way_in.obeyed)
    body = sealed(way_in.keyring, '{"method":"ping","arguments":{}}', role=names.SUBMIT)

    way_in.put(BROADCAST, as_entry(wrapped(body, {"clock": 7})))

    assert len(way_in.obeyed) == before + 1


@MANY
@given(door=DOOR, entry=st.binary(max_size=2000))
def test_any_bytes(way_in: WayIn, door: str, entry: bytes) -> None:
    assert_one_outcome(way_in, door, entry)


@MANY
@given(door=DOOR, data=JSON)
def test_any_json(way_in: WayIn, door: str, data: Any) -> None:
    assert_one_outcome(way_in, door, as_entry(data))


@MANY
@given(
    door=DOOR,
    path=st.sampled_from(["body", "content-type", "content-encoding", "headers", "properties"]),
    data=JSON,
)
def test_any_part_of_a_genuine_message_replaced_by_any_json(
    way_in: WayIn, door: str, path: str, data: Any
) -> None:
    assert_one_outcome(way_in, door, as_entry(genuine(way_in.keyring) | {path: data}))


@MANY
@given(door=DOOR, name=st.text(), data=JSON)
def test_any_header_and_property_added(way_in: WayIn, door: str, name: str, data: Any) -> None:
    message = genuine(way_in.keyring)
    message["headers"][name] = data
    message["properties"][name] = data

    assert_one_outcome(way_in, door, as_entry(message))


@MANY
@given(door=DOOR, role=st.sampled_from(names.ROLES), data=JSON, headers=JSON)
def test_anything_signed_with_the_key_of_any_role(
    way_in: WayIn, door: str, role: str, data: Any, headers: Any
) -> None:
    body = sealed(way_in.keyring, json.dumps(data), role=role)

    assert_one_outcome(way_in, door, as_entry(wrapped(body, headers)))


@MANY
@given(
    door=DOOR,
    role=st.sampled_from(names.ROLES),
    command=st.fixed_dictionaries({}, optional=dict.fromkeys(OPTIONS, JSON)),
)
def test_any_command_of_any_role(way_in: WayIn, door: str, role: str, command: dict[str, Any]) -> None:
    body = sealed(way_in.keyring, json.dumps(command), role=role)

    assert_one_outcome(way_in, door, as_entry(wrapped(body, {})))


@MANY
@given(role=st.sampled_from([names.SUBMIT, names.WATCH]), rest=st.dictionaries(st.text(), JSON), clock=JSON)
def test_any_arguments_of_a_command_that_may_be_given(
    way_in: WayIn, role: str, rest: dict[str, Any], clock: Any
) -> None:
    body = sealed(way_in.keyring, json.dumps({"method": "ping"} | rest), role=role)

    way_in.put(BROADCAST, as_entry(wrapped(body, {"clock": clock})))


def test_want_of_memory_is_no_refusal(way_in: WayIn) -> None:
    """The last one: its message would be handed out again."""
    refused, way_in.fails = way_in.refusals.count, MemoryError()
    try:
        with pytest.raises(MemoryError):
            way_in.put(QUEUE, as_entry(genuine(way_in.keyring)))
    finally:
        way_in.fails = None

    assert way_in.refusals.count == refused
