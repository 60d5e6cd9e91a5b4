"""How one step is performed; what comes next is decided in :mod:`~strongroom.operations.runs.decide`.

In process, a loop over :func:`perform`. In Celery, a task calls it and sends the tickets it
returns; reconcile sends what got lost. So the command line, the workers and the tests run
the same code, and a message never carries more than a :class:`Ticket`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from strongroom.errors import StrongroomError, name_of
from strongroom.operations import recorded_errors, run_integrity
from strongroom.operations.jobs import JOBS
from strongroom.operations.runs import event_log, hooks, waiting
from strongroom.operations.runs.decide import decide, decide_given_up, exhausted, is_tolerated
from strongroom.operations.runs.job import StepAction, action_of, is_signed, job_of, read_result
from strongroom.operations.runs.lease_renewal import kept_alive
from strongroom.operations.runs.report import Report, report
from strongroom.operations.services import Services
from strongroom.operations.trust_lists.spread import adopted
from strongroom.state.errors import ClaimLost, RecordRefused, StillNeeded
from strongroom.state.records import (
    Claim,
    Needed,
    Pool,
    Run,
    RunStep,
    StepConsequence,
    StepKind,
    StepState,
    Tally,
    Ticket,
)
from strongroom.system.retry import backoff

log = logging.getLogger(__name__)


class AttemptOutcome(NamedTuple):
    """The outcome of one attempt at a step: the run as it is now, and the error if the attempt failed.

    ``again``: the step will be tried once more.
    """

    run: Run
    error: Exception | None = None
    again: bool = False


def perform(ticket: Ticket, services: Services) -> list[Ticket]:
    """Claim a step, do its work, record the outcome, and return what is due next.

    A stale ticket, a finished run or a step that a live worker holds is a no-op. A failure
    of the work is recorded, not raised; only an unusable state database raises.
    """
    return perform_step(ticket, services)[0]


def perform_step(ticket: Ticket, services: Services) -> tuple[list[Ticket], AttemptOutcome | None]:
    """As :func:`perform`; return the outcome too, or ``None`` if there was nothing to do."""
    claim = services.store.claim(ticket, owner=services.owner, lease=services.limits.lease)
    if claim is None:
        return [], None
    run = services.store.load(ticket.run)
    try:
        outcome = _work(run, claim, services)
    except ClaimLost:
        log.info("claim-lost", extra={"run": run.id, "step": str(ticket.step)})
        return [], None
    return services.store.take_ready(run.id, window=services.limits.window), outcome


def reconcile(services: Services) -> list[Ticket]:
    """Take again whatever is overdue where workers serve the queues: lost messages, dead workers, retries."""
    return [
        ticket
        for run in recover(services, queues=pools())
        for ticket in services.store.take_ready(run, window=services.limits.window)
    ]


def recover(
    services: Services, *, strict: str = "", queues: Mapping[StepKind, str] = MappingProxyType({})
) -> list[str]:
    """Make due again what got lost; return the runs that have something due.

    Args:
        strict: the run whose trouble is raised; that of any other is logged.
        queues: the queue that carries each kind of step, where workers serve them.
    """
    return services.store.reconcile(
        decide_given_up,
        exhausted=exhausted,
        strict=strict,
        failed=event_log.failed_unattended,
        queues=queues,
    )


def _work(run: Run, claim: Claim, services: Services) -> AttemptOutcome:
    step, job = claim.ticket.step, job_of(run.spec.kind)
    if (refused := _refuse_record(run, step, services)) is not None:
        return _record_refusal(run, claim, services, refused)
    try:
        with kept_alive(services.store, claim, lease=services.limits.lease):
            result = _perform_action(run, step, services)
    except StrongroomError as error:
        outcome = _wait_or_fail(run, claim, services, error)
    except KeyboardInterrupt:
        # Handed back at once, so that whoever sweeps or goes on need not wait for the lease.
        services.store.fail(claim, "interrupted", retry_in=0.0, decide=decide_given_up)
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the record must know
        outcome = _record_failure(run, claim, services, error, "unexpected; see the log", wait=0.0)
    else:
        outcome = AttemptOutcome(_record_success(run, claim, services, result))
    job.after_step(run, step, services)
    return outcome


def _wait_or_fail(run: Run, claim: Claim, services: Services, error: StrongroomError) -> AttemptOutcome:
    step = claim.ticket.step
    if not waiting.wait_for(run, claim, error, services):
        fail = partial(
            _record_failure,
            *(run, claim, services, error, waiting.describe_failure(run, step, error, services)),
            wait=waiting.requested_pause(error) if error.transient else None,
        )
        try:
            return fail(unless=waiting.unless_needed(run, step, error, services))
        except StillNeeded:  # another target was given up at this very moment
            if not waiting.wait_for(run, claim, error, services):
                return fail()
    return AttemptOutcome(run, error, again=True)


def _perform_action(run: Run, step: RunStep, services: Services) -> dict[str, Any]:
    """Do a step's work and return its result as it is recorded."""
    action = _action(run, step)
    services = _knowing_lists(run, step, services)
    if step.kind is StepKind.PLAN:
        run_integrity.check_time(run)
        run_integrity.check_terms(run, job_of(run.spec.kind).terms, services)
    result: dict[str, Any] = msgspec.to_builtins(action.perform(run, step, services))
    return run_integrity.sign_record(run, result, services) if step.kind is StepKind.PLAN else result


def _knowing_lists(run: Run, step: RunStep, services: Services) -> Services:
    """Return the services with who counts by the trust lists on the run's targets, read once a run and
    process. A step that seals or carries judges no signature there."""
    job = job_of(run.spec.kind)
    if step.kind in (StepKind.HOOK, StepKind.REPORT) or step.kind in job.carries:
        return services
    targets = [name for name in job.asked(run) if name in services.targets]
    return adopted(services, run.id, targets, strict=job.reads)


def _refuse_record(run: Run, step: RunStep, services: Services) -> RecordRefused | None:
    """Return why a step may not be performed: the run is not the one that was signed.

    The engine checks it, so no action can forget it. A report is performed all the same: it has to end the
    run, and reports the refusal. A hook comes before the plan, and does nothing that a row says.
    """
    if step.kind in (StepKind.HOOK, StepKind.PLAN, StepKind.REPORT):
        return None
    return run_integrity.refusal(run, services, signed=is_signed(job_of(run.spec.kind)))


def _record_refusal(run: Run, claim: Claim, services: Services, error: RecordRefused) -> AttemptOutcome:
    """End the run, whatever the step. Nothing that an edited row asks for is done on a target."""
    step, text = claim.ticket.step, f"{error.code}: {recorded_errors.error_text(error)}"
    now, _ = services.store.fail(claim, text, settle=StepState.POISONED, decide=decide_given_up)
    event_log.recorded(now, step, services.store, error=error)
    return AttemptOutcome(now, error)


_OWN: Final[Mapping[StepKind, StepAction[Any]]] = {
    StepKind.HOOK: StepAction(hooks.call_before, hooks.Called, Pool.CONTROL),
    StepKind.REPORT: StepAction(report, Report, Pool.CONTROL),
}
"""The steps that any run may have, whatever its job."""


def _action(run: Run, step: RunStep) -> StepAction[Any]:
    return _OWN.get(step.kind) or action_of(run, step)


@cache
def pools() -> Mapping[StepKind, Pool]:
    """Return which pool performs each kind of step, as the actions of all jobs say. Loads every job."""
    found = {kind: action.pool for kind, action in _OWN.items()}
    for kind in JOBS:
        for step, action in job_of(kind).actions.items():
            if found.setdefault(step, action.pool) is not action.pool:
                raise ValueError(f"the jobs do not agree on who performs a step {step.value}")
    return found


def _record_success(run: Run, claim: Claim, services: Services, result: dict[str, Any]) -> Run:
    decider = _Decider(lambda r, tally, step: decide(r, tally, step, result))
    try:
        now, _ = services.store.finish(claim, result, decider)
    except ClaimLost:
        _take_back(run, claim.ticket.step, result, services)
        raise
    event_log.recorded(now, claim.ticket.step, services.store, verdict=decider.verdict)
    return now


def _take_back(run: Run, step: RunStep, result: dict[str, Any], services: Services) -> None:
    if step.kind not in (StepKind.HOOK, StepKind.REPORT):
        typed = read_result(run, step, result, action_of(run, step).result)
        job_of(run.spec.kind).take_back(run, step, typed, services)


class _Decider:
    """Decides, and remembers the verdict that counted: none does once a run is closing."""

    def __init__(self, decide_now: Callable[[Run, Tally, RunStep], StepConsequence]) -> None:
        self.verdict: StepConsequence | None = None
        self._decide = decide_now

    def __call__(self, run: Run, tally: Tally, step: RunStep) -> StepConsequence:
        verdict = self._decide(run, tally, step)
        self.verdict = None if run.closing else verdict
        return verdict


def _record_failure(
    run: Run,
    claim: Claim,
    services: Services,
    error: Exception,
    message: str,
    *,
    wait: float | None,
    unless: Needed | None = None,
) -> AttemptOutcome:
    """Record a failure. ``wait``: seconds to leave alone what failed; ``None``: for good."""
    step = claim.ticket.step
    left = claim.attempt < services.limits.attempts
    again = wait is not None and left and not _gives_up_target(run, step, services, asleep=wait > 0)
    decider = _Decider(decide_given_up)
    now, _ = services.store.fail(
        claim,
        f"{name_of(error)}: {message}",
        retry_in=backoff(claim.attempt, first=services.limits.backoff) + (wait or 0.0) if again else None,
        settle=None if again else exhausted(run, step),
        decide=decider,
        unless=unless,
    )
    event_log.attempt_failed(now, step, error, again=again)
    event_log.recorded(now, step, services.store, verdict=decider.verdict, error=error)
    return AttemptOutcome(now, error, again)


def _gives_up_target(run: Run, step: RunStep, services: Services, *, asleep: bool) -> bool:
    """Tell whether to try a target no more in this run.

    One that has already cost the run its retries costs each further container one try, not
    five. One that asks to be left alone (``asleep``) is waited for only if the run needs it:
    a dead region costs seconds then, and the next repair brings it up.
    """
    if not is_tolerated(run, step) or not step.target:
        return False
    tally = services.store.tally(run.id)
    missed = tally.of(step.kind, target=step.target, states=(StepState.MISSED,)) > 0
    return missed or (asleep and not job_of(run.spec.kind).worth_a_pause(run, tally, step))
