"""One task a kind of step, on the queue of the pool that performs it."""

from __future__ import annotations

from typing import Any, Final

from strongroom.state.records import StepKind
from workers.app import app
from workers.base import TypedTask, define
from workers.names import step_task
from workers.send import send_tickets
from workers.tickets import from_arguments

StepTask = TypedTask[..., None]


def perform(kind: StepKind, **arguments: Any) -> None:
    """Perform the step that a message refers to, and send what is due next."""
    from strongroom.operations import steps  # noqa: PLC0415 - not for a shell that only submits

    ticket = from_arguments(kind, **arguments)
    send_tickets(app, steps.perform(ticket, app.services.get()))


def _define(kind: StepKind) -> StepTask:
    def step(*, version: int, run: str, piece: int, target: str, dispatch: int) -> None:
        perform(kind, version=version, run=run, piece=piece, target=target, dispatch=dispatch)

    step.__name__ = kind.name.lower()
    step.__doc__ = f"Perform one {kind.value} step."
    return define(step_task(kind))(step)


STEPS: Final = {kind: _define(kind) for kind in StepKind}
