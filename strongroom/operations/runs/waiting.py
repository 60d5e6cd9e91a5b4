"""Waiting instead of failing: for room, and for a target or a service that does not answer.

A full disk is no fault of the step that met it. So the step gets its attempt back, and the run pauses. Which
errors a step waits for, its action says (:class:`~strongroom.operations.runs.job.StepAction`).
"""

from __future__ import annotations

import logging
import time
from functools import partial

from strongroom.errors import StrongroomError
from strongroom.operations import recorded_errors
from strongroom.operations.errors import ApprovalNeeded
from strongroom.operations.runs.decide import is_tolerated
from strongroom.operations.runs.job import job_of
from strongroom.operations.services import Services
from strongroom.state.records import Claim, Needed, Run, RunStep, Tally
from strongroom.system.retry import backoff
from strongroom.targets.errors import TargetUnavailable
from strongroom.words import plural

log = logging.getLogger(__name__)

LONGEST_PAUSE = 300.0
"""Seconds that a step leaves a target alone at most, at its request: hours would stop a backup."""
APPROVED_WITHIN = 31 * 86_400.0
"""Seconds after which no step waits for people any more: longer than any request holds."""
LOOK = 60.0
"""Seconds between two looks whether people have approved something; an approval given here wakes the step."""


def wait_for(run: Run, claim: Claim, error: StrongroomError, services: Services) -> bool:
    """Let a step wait until its error has passed; return whether it waits.

    A step that the run can do without is given up instead, unless the job says that it must wait.
    """
    step = claim.ticket.step
    if not _may_wait(run, step, error, services):
        return False
    if is_tolerated(run, step) and not _must_wait(run, services.store.tally(run.id), step=step):
        return False
    pause = max(backoff(1, first=services.limits.pause), requested_pause(error))
    patience = services.limits.patience
    if isinstance(error, ApprovalNeeded):  # people are no machines: their request says how long it holds
        pause, patience = LOOK, APPROVED_WITHIN
    text = f"{error.code}: {recorded_errors.error_text(error)}"
    waits = services.store.wait(claim, text, pause=pause, patience=patience)
    if waits:
        log.info("step-waits", extra={"run": run.id, "step": str(step), "error_class": error.code})
    return waits


def requested_pause(error: StrongroomError) -> float:
    """Return for how many seconds a target asks to be left alone.

    A target's circuit breaker says so: tries within its pause would all be spent in vain.
    """
    asked = error.retry_after if isinstance(error, TargetUnavailable) else None
    return min(asked or 0.0, LONGEST_PAUSE)


def unless_needed(run: Run, step: RunStep, error: StrongroomError, services: Services) -> Needed | None:
    """Return the condition on which a tolerated step waits instead of being given up, if there is one."""
    if not is_tolerated(run, step) or not _may_wait(run, step, error, services):
        return None
    return partial(_must_wait, step=step)


def _may_wait(run: Run, step: RunStep, error: StrongroomError, services: Services) -> bool:
    """Tell whether an error of a step may pass, and this process is patient."""
    action = job_of(run.spec.kind).actions.get(step.kind)
    patient = services.limits.patience > 0 or isinstance(error, ApprovalNeeded)
    return patient and action is not None and isinstance(error, action.waits_for)


def describe_failure(run: Run, step: RunStep, error: StrongroomError, services: Services) -> str:
    """Return a failure as the run records it, with how long the step waited in vain."""
    since = services.store.row(run.id, step).waits_since
    if since is None:
        return recorded_errors.error_text(error)
    waited = f"{error.message} (waited for {plural(round((time.time() - since) / 60), 'minute')})"
    return recorded_errors.joined(waited, recorded_errors.apart(recorded_errors.error_text(error))[1])


def _must_wait(run: Run, tally: Tally, *, step: RunStep) -> bool:
    return job_of(run.spec.kind).must_wait(run, tally, step)
