"""Waiting instead of failing: for room, and for places that do not answer.

A disk that is full says nothing of the step that met it, so its attempt is given back and the run pauses.
"""

from __future__ import annotations

import logging
import random
import time

from strongroom.errors import (
    QuorumNotMet,
    StrongroomError,
    TargetError,
    TargetFull,
    TargetReadOnly,
    TargetUnavailable,
)
from strongroom.operations import failures
from strongroom.operations.commit import missing_from_quorum
from strongroom.operations.services import Services
from strongroom.state.records import Claim, Run, RunKind, Step, StepKind, StepState
from strongroom.words import plural

log = logging.getLogger(__name__)

_PASSING: dict[StepKind, tuple[type[TargetError], ...]] = {
    # Whatever place these two name is the stage.
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
    if services.limits.patience <= 0 or run.spec.kind is not RunKind.BACKUP:
        return False
    if not isinstance(error, _PASSING.get(step.kind, ())):
        return False
    if step.kind is StepKind.UPLOAD and not _needed(run, step, services):
        return False
    pause = max(services.limits.pause * random.uniform(0.8, 1.2), _asked(error))  # noqa: S311 - jitter
    text = f"{error.code}: {failures.said(error)}"
    waits = services.store.wait(claim, text, pause=pause, patience=services.limits.patience)
    if waits:
        log.info("step-waits", extra={"run": run.id, "step": str(step), "error_class": error.code})
    return waits


def said(run: Run, step: Step, error: StrongroomError, services: Services) -> str:
    """Return what a run records of a failure, and how long it was waited for in vain."""
    since = services.store.row(run.id, step).waits_since
    if since is None:
        return failures.said(error)
    waited = f"{error.message} (waited for {plural(round((time.time() - since) / 60), 'minute')})"
    return failures.joined(waited, failures.apart(failures.said(error))[1])


def _needed(run: Run, step: Step, services: Services) -> bool:
    """Tell whether the quorum cannot be met any more by those targets that have given up nothing."""
    tally = services.store.tally(run.id)
    sound = (
        pin.name
        for pin in run.spec.targets
        if pin.name != step.target and not tally.of(step.kind, target=pin.name, states=(StepState.MISSED,))
    )
    return missing_from_quorum(run.spec, tuple(sound)) is not None


def _asked(error: StrongroomError) -> float:
    return min(getattr(error, "retry_after", None) or 0.0, LONGEST)
