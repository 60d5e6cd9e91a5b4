"""A ticket survives its message; anything else is refused."""

from __future__ import annotations

from typing import Any

import pytest

from strongroom.operations.errors import MessageRefused
from strongroom.state.records import RunStep, StepKind, Ticket
from workers.send import from_arguments, to_arguments

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
