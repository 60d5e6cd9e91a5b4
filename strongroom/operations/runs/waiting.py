"""Waiting instead of failing: for room, and for places that do not answer.

A disk that is full says nothing of the step that met it, so its attempt is given back and the run pauses.
"""

from __future__ import annotations

import logging
import random
import time
from functools import partial

from strongroom.errors import (
    QuorumNotMet,
    StrongroomError,
    TargetError,
    TargetFull,
    TargetReadOnly,
    TargetUnavailable,
)
from strongroom.operations import recorded_errors
from strongroom.operations.backup.commit import missing_from_quorum
from strongroom.operations.services import Services
from strongroom.state.outcomes import Needed
from strongroom.state.records import Claim, Run, RunKind, Step, StepKind, StepState, Tally
from strongroom.words import plural

log = logging.getLogger(__name__)

_PASSING: dict[StepKind, tuple[type[TargetError], ...]] = {
    # Whatever place these two name is the stage, or the local store.
    StepKind.PLAN: (TargetFull, TargetReadOnly, TargetUnavailable),
    StepKind.CAPTURE: (TargetFull, TargetReadOnly, TargetUnavailable),
    StepKind.UPLOAD: (TargetFull, TargetReadOnly, TargetUnavailable),
    StepKind.COMMIT: (QuorumNotMet, TargetUnavailable),
}
"""What each kind of a backup's steps waits for."""

LONGEST = 300.0
"""Seconds that a step leaves a place alone at its request."""


def wait_for(run: Run, claim: Claim, error: StrongroomError, services: Services) -> bool:
    """Let a step wait for what it met to pass; return whether it does.

    An upload waits only for a target without which the policy's quorum cannot be met: any other is
    given up, and repaired later.
    """
    step = claim.ticket.step
    if not _passes(run, step, error, services):
        return False
    if step.kind is StepKind.UPLOAD and not _needed(run, services.store.tally(run.id), step):
        return False
    pause = max(services.limits.pause * random.uniform(0.8, 1.2), _asked(error))  # noqa: S311 - jitter
    text = f"{error.code}: {recorded_errors.said(error)}"
    waits = services.store.wait(claim, text, pause=pause, patience=services.limits.patience)
    if waits:
        log.info("step-waits", extra={"run": run.id, "step": str(step), "error_class": error.code})
    return waits


def unless_needed(run: Run, step: Step, error: StrongroomError, services: Services) -> Needed | None:
    """Return what tells, as an upload is given up, that it has to wait instead."""
    if step.kind is not StepKind.UPLOAD or not _passes(run, step, error, services):
        return None
    return partial(_needed, step=step)


def _passes(run: Run, step: Step, error: StrongroomError, services: Services) -> bool:
    """Tell whether it is worth while to wait until a step's error has passed."""
    patient = services.limits.patience > 0 and run.spec.kind is RunKind.BACKUP
    return patient and isinstance(error, _PASSING.get(step.kind, ()))


def said(run: Run, step: Step, error: StrongroomError, services: Services) -> str:
    """Return what a run records of a failure, and how long it was waited for in vain."""
    since = services.store.row(run.id, step).waits_since
    if since is None:
        return recorded_errors.said(error)
    waited = f"{error.message} (waited for {plural(round((time.time() - since) / 60), 'minute')})"
    return recorded_errors.joined(waited, recorded_errors.apart(recorded_errors.said(error))[1])


def _needed(run: Run, tally: Tally, step: Step) -> bool:
    """Tell whether the quorum cannot be met any more by those targets that have given up nothing."""
    sound = (
        pin.name
        for pin in run.spec.targets
        if pin.name != step.target and not tally.of(step.kind, target=pin.name, states=(StepState.MISSED,))
    )
    return missing_from_quorum(run.spec, tuple(sound)) is not None


def _asked(error: StrongroomError) -> float:
    return min(getattr(error, "retry_after", None) or 0.0, LONGEST)
