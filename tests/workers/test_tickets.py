"""A ticket survives its message; anything else is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from kombu.serialization import registry

from strongroom.keys.errors import RoleNotHere
from strongroom.operations.errors import MessageRefused
from strongroom.state.records import RunStep, StepKind, Ticket
from workers import names
from workers.send import from_arguments, send_tickets, to_arguments

if TYPE_CHECKING:
    from workers.app import Strongroom

SIGNED = "thrown-out"
TICKET = Ticket("20261125T024501Z-3f9a0c1d", RunStep(StepKind.UPLOAD, 3, "region-a"), 41)


def test_a_ticket_comes_back_from_its_arguments() -> None:
    assert from_arguments(StepKind.UPLOAD, **to_arguments(TICKET)) == TICKET


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_message_of_another_version_is_refused(version: Any) -> None:
    with pytest.raises(MessageRefused, match="version"):
        from_arguments(StepKind.UPLOAD, **{**to_arguments(TICKET), "version": version})


@pytest.mark.parametrize(
    ("name", "value"), [("run", 7), ("piece", "3"), ("piece", True), ("target", None), ("dispatch", 4.0)]
)
def test_an_argument_of_another_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(MessageRefused, match="types"):
        from_arguments(StepKind.UPLOAD, **{**to_arguments(TICKET), name: value})


def test_a_host_that_is_thrown_out_as_a_step_ends_leaves_what_follows_to_the_others() -> None:
    class ThrownOut:
        role = names.SEAL

        def send_task(self, *_: object, **__: object) -> None:
            registry.dumps({}, serializer=SIGNED)

    def encode(_: object) -> str:
        raise RoleNotHere("this host was removed from the installation")

    registry.register(SIGNED, encode, decoder=None, content_type="application/x-thrown-out")
    try:
        assert send_tickets(cast("Strongroom", ThrownOut()), [TICKET]) == 0
    finally:
        registry.unregister(SIGNED)
