"""One task a kind of step, on the queue of the pool that performs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from celery.exceptions import Retry

from strongroom.operations.errors import RunFailed
from strongroom.state.records import RunState, StepKind
from workers import telemetry
from workers.app import app
from workers.base import TypedTask, define
from workers.names import step_task
from workers.send import from_arguments, send_tickets

if TYPE_CHECKING:
    from strongroom.operations.engine.steps import AttemptOutcome

StepTask = TypedTask[..., None]


def perform(kind: StepKind, **arguments: Any) -> None:
    """Perform the step that a message refers to, and send what is due next.

    What came of it is recorded by then. It is raised as well, so that Celery and Flower count what the
    record says, and not whatever returned.
    """
    from strongroom.operations.engine import steps

    ticket = from_arguments(kind, **arguments)
    due, outcome = steps.perform_step(ticket, app.services.of_run(ticket.run))
    send_tickets(app, due)
    if outcome is None:
        return
    if kind is StepKind.REPORT and outcome.run.state.final:
        telemetry.check_in(outcome.run, app.settings.schedules)
        telemetry.hand_over(outcome.run, app.services.of_run(ticket.run).store, app.settings)
    if (shown := shown_as(kind, outcome)) is not None:
        raise shown


def shown_as(kind: StepKind, outcome: AttemptOutcome) -> Exception | None:
    """Return what Celery is to show of a step: nothing is a success.

    FAILURE: the report of a run that failed, so one task for each such run. RETRY: an attempt that failed.
    Its step comes again under another message; or, if it was given up, with a retry or a repair of the run.
    """
    if kind is StepKind.REPORT and outcome.run.state is RunState.FAILED:
        from strongroom.operations.engine.run_log import class_in

        spec, why = outcome.run.spec, class_in(outcome.run.error) or "a fault"
        return RunFailed(f"the {spec.kind.value} of '{spec.policy}' failed: {why}")
    if outcome.error is None:
        return None
    code = type(outcome.error).__name__
    shown: Exception = Retry(exc=RunFailed(code if outcome.again else f"{code}, given up"))
    return shown


def _define(kind: StepKind) -> StepTask:
    def step(*, version: int, run: str, piece: int, target: str, dispatch: int) -> None:
        perform(kind, version=version, run=run, piece=piece, target=target, dispatch=dispatch)

    step.__name__ = kind.name.lower()
    step.__doc__ = f"Perform one {kind.value} step."
    return define(step_task(kind))(step)


STEPS: Final = {kind: _define(kind) for kind in StepKind}
