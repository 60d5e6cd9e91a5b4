"""Driving runs in this process, and what their end means for the command."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from strongroom.cli.shared import render_run
from strongroom.cli.shared.follow_run import by_ticket, showing_progress
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.errors import StrongroomError
from strongroom.operations import recorded_errors
from strongroom.operations.backup import abandoned
from strongroom.operations.errors import RunDegraded
from strongroom.operations.runs.drive import drive, end
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunState, Ticket

_GOOD = (RunState.DONE, RunState.DEGRADED)


def end_abandoned(policy: str, services: Services, output: Output) -> None:
    """Bring to their end backups of a policy whose process was killed, and say so."""
    for run in abandoned.end_abandoned(services, policy=policy):
        output.note(f"run {run.id} was abandoned, for its process is gone; it is {run.state.value} now")


def finish(run_id: str, tickets: list[Ticket], services: Services, output: Output) -> Answer:
    """Drive a run to its end here, and answer with what came of it.

    Raises:
        StrongroomError: what the run failed of.
    """
    run = drive_here(run_id, tickets, services, output)
    lack = lack_of(run)
    return replace(render_run.answer_run(run, render_run.rows_of(services.store, run)), error=lack)


def drive_here(run_id: str, tickets: list[Ticket], services: Services, output: Output) -> Run:
    """Drive a run to its end here, and return it.

    Ctrl-C cancels it first, so that nothing half-made stays on stage or target.
    """
    try:
        with showing_progress(output, services.store) as watch:
            return drive(run_id, tickets, services, watch=by_ticket(watch))
    except KeyboardInterrupt:
        services.store.cancel(run_id, error="interrupted")
        end(run_id, services)
        raise


def require_good(run: Run) -> None:
    """Return if a run made what it was to make; raise what stopped it otherwise."""
    if run.state in _GOOD:
        return
    raise recorded_errors.failure_of(run)


def require_all_whole(runs: Sequence[Run]) -> None:
    """Return if each run did all that it was to do."""
    if (lack := lack_of_all(runs)) is not None:
        raise lack


def lack_of_all(runs: Sequence[Run], *, failed: Sequence[StrongroomError] = ()) -> StrongroomError | None:
    """Return what runs fall short of, for an answer to end with; a failure, of a run or of what else
    ``failed``, weighs more than what lacks."""
    bad = [recorded_errors.failure_of(run) for run in runs if run.state not in _GOOD]
    lacks = [lack_of(run) for run in runs if run.state in _GOOD]
    return next(filter(None, (*bad, *failed, *lacks)), None)


def require_whole(run: Run) -> None:
    """Return if a run did all that it was to do: who only looks at the exit code has to learn, too,
    that a backup holds less than expected or lacks a replica."""
    if (lack := lack_of(run)) is not None:
        raise lack


def lack_of(run: Run) -> StrongroomError | None:
    """Return what a run falls short of, for an answer to end with; raise what stopped it if it failed."""
    require_good(run)
    if run.state is not RunState.DEGRADED:
        return None
    happened, hint = recorded_errors.apart(run.error)
    degraded = RunDegraded(f"run {run.id} is degraded: {happened}", hint=hint or None)
    return recorded_errors.loss_of(run) or degraded
