"""How one step is performed, kept alive, waited for and reported."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from strongroom.errors import StrongroomError, name_of, raised_at
from strongroom.keys.errors import RoleNotHere
from strongroom.model import prepare
from strongroom.operations.engine import hooks, integrity, run_log
from strongroom.operations.engine.hooks import call_after
from strongroom.operations.engine.jobs import (
    JOBS,
    Ending,
    Job,
    ReportFacts,
    StepAction,
    action_of,
    begin_next,
    decide,
    decide_given_up,
    exhausted,
    is_signed,
    is_tolerated,
    job_of,
    read_result,
)
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.spread import adopted
from strongroom.operations.engine.stage import sweep_stage, sweep_stages
from strongroom.operations.errors import ApprovalNeeded
from strongroom.state.errors import ClaimLost, RecordRefused, StillNeeded
from strongroom.state.records import (
    Claim,
    Needed,
    Pool,
    Run,
    RunState,
    RunStep,
    StepConsequence,
    StepKind,
    StepState,
    Tally,
    Ticket,
)
from strongroom.system.attempts import backoff
from strongroom.system.errors import lack_of_host
from strongroom.system.lazy import package_missing
from strongroom.targets.errors import TargetUnavailable
from strongroom.words import plural

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


# -- report: the last step of every run. Sweeps what the run left, says what came of it ---------


class Report(Struct, frozen=True, kw_only=True):
    """How a run ended. ``good`` names the targets with a good replica, ``unswept`` the places that still hold
    what the run left, and why. The others are :class:`~strongroom.operations.engine.jobs.ReportFacts`."""

    state: RunState
    error: str | None
    good: Sequence[str]
    unswept: Mapping[str, str]
    kept: Sequence[str]
    swept: Sequence[str]
    fewer: int
    started: Sequence[str]


prepare(Report)


def report(run: Run, step: RunStep, services: Services) -> Report:
    """Clean up after the run and return its final state, with the reason if it is a bad one."""
    job = job_of(run.spec.kind)
    unswept = _sweep(run, job, services)
    good, judged = _judged(run, job, services)
    ending = _concluded(run, judged, job, services)
    more = _more(run, job, services)
    call_after(run, ending, services)
    return Report(
        state=ending.state,
        error=ending.error,
        good=sorted(good),
        unswept=unswept,
        kept=more.kept,
        swept=more.swept,
        fewer=more.fewer,
        started=more.started,
    )


def _judged(run: Run, job: Job, services: Services) -> tuple[Sequence[str], Ending]:
    """Return the targets with a good replica, and how the run ends. A record that does not fit fails it."""
    refused = integrity.refusal(run, services, signed=is_signed(job))
    try:
        good = job.record(run, services) if refused is None else ()
        return good, _early_ending(run) or _refused(run, refused, services) or job.outcome(run, services)
    except RecordRefused as error:
        return (), _early_ending(run) or _refusal(run, error, services)


def _concluded(run: Run, ending: Ending, job: Job, services: Services) -> Ending:
    try:
        return job.conclude(run, ending, services)
    except RecordRefused as error:
        return ending if ending.state is RunState.FAILED else _refusal(run, error, services)


def _more(run: Run, job: Job, services: Services) -> ReportFacts:
    try:
        return job.report_facts(run, services)
    except RecordRefused:  # it is what the run fails of already
        return ReportFacts()


def _early_ending(run: Run) -> Ending | None:
    """Return how a run ends that failed or was cancelled before."""
    ending = run.facts.get("ending")
    return None if ending is None else Ending(RunState(ending), run.facts.get("error"))


def _refused(run: Run, refused: RecordRefused | None, services: Services) -> Ending | None:
    return None if refused is None else _refusal(run, refused, services)


def _refusal(run: Run, refused: RecordRefused, services: Services) -> Ending:
    """Record a refusal where the alerts look for it; the run fails of it."""
    error = f"{refused.code}: {run_log.error_text(refused)}"
    services.store.event("step.failed", run.id, step=StepKind.REPORT.value, error=error)
    return Ending(RunState.FAILED, error)


def _sweep(run: Run, job: Job, services: Services) -> dict[str, str]:
    """Remove leftovers; return the places that still hold some, and why."""
    unswept = job.sweep(run, services)
    sweep_stages(run, services)
    return unswept if sweep_stage(run, services) else {**unswept, "stage": "it could not be emptied"}


# -- Keeps a claim alive while its step works ---------------------------------------------------


@contextmanager
def kept_alive(store: RunStore, claim: Claim, *, lease: float) -> Iterator[None]:
    """Renew ``claim`` three times a lease from a thread, until the block ends.

    A renewal that fails is not an error here: the fence decides when the step records, and
    a database that comes back in time changes nothing.
    """
    done = threading.Event()

    def renew() -> None:
        while not done.wait(lease / 3):
            try:
                if not store.renew(claim, lease=lease):
                    return
            except StrongroomError:
                continue

    thread = threading.Thread(target=renew, name=f"lease {claim.ticket.step}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# -- Waiting instead of failing: for room, and for a target or a service that does not answer ---
#
# A full disk is no fault of the step that met it. So the step gets its attempt back, and the run pauses.
# Which errors a step waits for, its action says (:class:`~strongroom.operations.engine.jobs.StepAction`).


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
    text = f"{error.code}: {run_log.error_text(error)}"
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
        return run_log.error_text(error)
    waited = f"{error.message} (waited for {plural(round((time.time() - since) / 60), 'minute')})"
    return run_log.joined(waited, run_log.apart(run_log.error_text(error))[1])


def _must_wait(run: Run, tally: Tally, *, step: RunStep) -> bool:
    return job_of(run.spec.kind).must_wait(run, tally, step)


# -- How one step is performed; what comes next is decided in :mod:`~strongroom.operations.engine.jobs`
#
# In process, a loop over :func:`perform`. In Celery, a task calls it and sends the tickets it
# returns; reconcile sends what got lost. So the command line, the workers and the tests run
# the same code, and a message never carries more than a :class:`Ticket`.


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
    try:
        tickets, outcome = _work(claim.run, claim, services)
    except ClaimLost:
        log.info("claim-lost", extra={"run": ticket.run, "step": str(ticket.step)})
        return [], None
    if outcome.run.state.final:
        tickets = [*tickets, *begin_next(services, outcome.run.spec.kind)]
    return tickets, outcome


def reconcile(services: Services) -> list[Ticket]:
    """Take again whatever is overdue where workers serve the queues: lost messages, dead workers, retries."""
    due = [
        ticket
        for run in recover(services, queues=pools())
        for ticket in services.store.take_ready(run, window=services.limits.window)
    ]
    return due + begin_next(services)


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
        failed=run_log.failed_unattended,
        queues=queues,
    )


def _work(run: Run, claim: Claim, services: Services) -> tuple[list[Ticket], AttemptOutcome]:
    step, job, window = claim.ticket.step, job_of(run.spec.kind), services.limits.window
    if (refused := _refuse_record(run, step, services)) is not None:
        outcome = _record_refusal(run, claim, services, refused)
        return services.store.take_ready(run.id, window=window), outcome
    due: list[Ticket] | None = None
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
        if (lack := lack_of_host(error)) is not None:
            outcome = _wait_or_fail(run, claim, services, lack)
        else:
            what = f"unexpected, at {raised_at(error)}"
            outcome = _record_failure(run, claim, services, error, what, wait=0.0)
    else:
        now, due = _record_success(run, claim, services, result)
        outcome = AttemptOutcome(now)
    job.after_step(run, step, services)
    return services.store.take_ready(run.id, window=window) if due is None else due, outcome


def _wait_or_fail(run: Run, claim: Claim, services: Services, error: StrongroomError) -> AttemptOutcome:
    # A host whose key does not count, such as one that was thrown out a moment ago, is not the run's trouble:
    # another may have a key that does.
    step = claim.ticket.step
    if not wait_for(run, claim, error, services):
        fail = partial(
            _record_failure,
            *(run, claim, services, error, describe_failure(run, step, error, services)),
            wait=requested_pause(error) if error.transient or isinstance(error, RoleNotHere) else None,
        )
        try:
            return fail(unless=unless_needed(run, step, error, services))
        except StillNeeded:  # another target was given up at this very moment
            if not wait_for(run, claim, error, services):
                return fail()
    return AttemptOutcome(run, error, again=True)


def _perform_action(run: Run, step: RunStep, services: Services) -> dict[str, Any]:
    """Do a step's work and return its result as it is recorded."""
    action = _action(run, step)
    services = _knowing_lists(run, step, services)
    if step.kind is StepKind.PLAN:
        integrity.check_time(run)
        integrity.check_terms(run, job_of(run.spec.kind).terms, services)
    try:
        result: dict[str, Any] = msgspec.to_builtins(action.perform(run, step, services))
    except ModuleNotFoundError as error:
        raise package_missing(error) or error from None
    return integrity.sign_record(run, result, services) if step.kind is StepKind.PLAN else result


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
    return integrity.refusal(run, services, signed=is_signed(job_of(run.spec.kind)))


def _record_refusal(run: Run, claim: Claim, services: Services, error: RecordRefused) -> AttemptOutcome:
    """End the run, whatever the step. Nothing that an edited row asks for is done on a target."""
    step, text = claim.ticket.step, f"{error.code}: {run_log.error_text(error)}"
    now, _ = services.store.fail(claim, text, settle=StepState.POISONED, decide=decide_given_up)
    run_log.recorded(now, step, services.store, error=error)
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


def _record_success(
    run: Run, claim: Claim, services: Services, result: dict[str, Any]
) -> tuple[Run, list[Ticket]]:
    """Record a result; return the run as it is now, and what is due."""
    decider = _Decider(lambda r, tally, step: decide(r, tally, step, result))
    try:
        now, due = services.store.finish(claim, result, decider, window=services.limits.window)
    except ClaimLost:
        _take_back(run, claim.ticket.step, result, services)
        raise
    run_log.recorded(now, claim.ticket.step, services.store, verdict=decider.verdict)
    return now, due


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
    run_log.attempt_failed(now, step, error, again=again)
    run_log.recorded(now, step, services.store, verdict=decider.verdict, error=error)
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
