"""What comes next, and how one step is performed. Nothing else decides either.

In process, a loop over :func:`perform`. In Celery, a task calls it and sends the tickets it
returns; reconcile sends what got lost. So the command line, the workers and the tests run
the same code, and a message never carries more than a :class:`Ticket`.

A backup: plan → capture × N → upload × N × targets → commit → verify × N × targets → report.
"""

from __future__ import annotations

import logging
import random
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs

from strongroom.errors import ClaimLost, StrongroomError, TargetUnavailable
from strongroom.operations import drill, failures, repair, restore_run, rotate, rotate_slice
from strongroom.operations.capture import capture, discard
from strongroom.operations.commit import commit, complete_targets, missing_from_quorum
from strongroom.operations.lease import kept_alive
from strongroom.operations.plan import plan
from strongroom.operations.report import report
from strongroom.operations.services import Services
from strongroom.operations.sweep import sweep_targets
from strongroom.operations.upload import leave_stage, upload
from strongroom.operations.verify import verify
from strongroom.state.records import (
    Claim,
    Run,
    RunKind,
    RunState,
    Step,
    StepKind,
    StepState,
    Tally,
    Ticket,
    Verdict,
)

log = logging.getLogger(__name__)

Result = Mapping[str, Any]
Action = Callable[[Run, Step, Services], dict[str, Any]]

PLAN, REPORT = Step(StepKind.PLAN), Step(StepKind.REPORT)

ACTIONS: Mapping[tuple[RunKind, StepKind], Action] = {
    (RunKind.BACKUP, StepKind.PLAN): plan,
    (RunKind.BACKUP, StepKind.CAPTURE): capture,
    (RunKind.BACKUP, StepKind.UPLOAD): upload,
    (RunKind.BACKUP, StepKind.COMMIT): commit,
    (RunKind.BACKUP, StepKind.VERIFY): verify,
    (RunKind.VERIFY, StepKind.PLAN): repair.inventory,
    (RunKind.VERIFY, StepKind.VERIFY): verify,
    (RunKind.REPAIR, StepKind.PLAN): repair.inventory,
    (RunKind.REPAIR, StepKind.REPAIR): repair.repair,
    (RunKind.REPAIR, StepKind.COMMIT): repair.publish,
    (RunKind.REPAIR, StepKind.VERIFY): verify,
    (RunKind.RESTORE, StepKind.RESTORE): restore_run.restore_step,
    (RunKind.DRILL, StepKind.DRILL_RESTORE): drill.restore,
    (RunKind.DRILL, StepKind.DRILL_COMPARE): drill.compare,
    (RunKind.DRILL, StepKind.DRILL_TEARDOWN): drill.teardown,
    (RunKind.ROTATE, StepKind.PLAN): rotate.plan,
    (RunKind.ROTATE, StepKind.REWRAP): rotate_slice.rewrap,
    (RunKind.ROTATE, StepKind.ROTATE): rotate.rotate,
}

FIRST: Mapping[RunKind, Step] = {
    RunKind.BACKUP: PLAN,
    RunKind.VERIFY: PLAN,
    RunKind.REPAIR: PLAN,
    RunKind.RESTORE: Step(StepKind.RESTORE),
    RunKind.DRILL: Step(StepKind.DRILL_RESTORE),
    RunKind.ROTATE: PLAN,
}

# One target's trouble costs its replica, not the backup; one backup's trouble not the others' rotation.
TOLERATED = frozenset({StepKind.UPLOAD, StepKind.VERIFY, StepKind.REPAIR, *rotate_slice.KINDS})


LONGEST_PAUSE = 300.0
"""Seconds that a run leaves a target alone at its request: hours, asked for, must not stop a backup."""


def exhausted(step: Step) -> StepState:
    """Say what becomes of a step that was started too often without an outcome."""
    return StepState.MISSED if step.kind in TOLERATED else StepState.POISONED


def perform(ticket: Ticket, services: Services) -> list[Ticket]:
    """Claim a step, do its work, record the outcome, and return what is due next.

    A stale ticket, a finished run or a step that a live worker holds is a no-op. A failure
    of the work is recorded, not raised; only an unusable state database raises.
    """
    claim = services.store.claim(ticket, owner=services.owner, lease=services.limits.lease)
    if claim is None:
        return []
    run = services.store.load(ticket.run)
    try:
        _work(run, claim, services)
    except ClaimLost:
        log.info("claim-lost run=%s step=%s", run.id, ticket.step)
        return []
    return services.store.take_ready(run.id, window=services.limits.window)


def reconcile(services: Services) -> list[Ticket]:
    """Take again whatever is overdue: lost messages, dead workers, due retries."""
    return [
        ticket
        for run in recover(services)
        for ticket in services.store.take_ready(run, window=services.limits.window)
    ]


def recover(services: Services) -> list[str]:
    """Put right what got lost in the record; return the runs that have something due."""
    return services.store.reconcile(decide_given_up, exhausted=exhausted)


def _work(run: Run, claim: Claim, services: Services) -> None:
    step = claim.ticket.step
    try:
        with kept_alive(services.store, claim, lease=services.limits.lease):
            result = _action(run, step)(run, step, services)
    except StrongroomError as error:
        _record_failure(run, claim, services, error.code, failures.said(error), wait=_asked(error))
    except KeyboardInterrupt:
        # Handed back at once, so that whoever sweeps or goes on need not wait for the lease.
        services.store.fail(claim, "interrupted", retry_in=0.0, decide=decide_given_up)
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the record must know
        log.error(
            "step-crashed run=%s step=%s error=%s at=%s", run.id, step, type(error).__name__, _place(error)
        )
        _record_failure(run, claim, services, type(error).__name__, "unexpected; see the log", wait=0.0)
    else:
        _record_success(run, claim, services, result)
    if step.kind is StepKind.UPLOAD:
        leave_stage(run, step.piece, services)


def _place(error: Exception) -> str:
    """Say where an unexpected error arose. Its text is left out: that may quote a secret."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))


def _action(run: Run, step: Step) -> Action:
    return report if step.kind is StepKind.REPORT else ACTIONS[run.spec.kind, step.kind]


def _record_success(run: Run, claim: Claim, services: Services, result: dict[str, Any]) -> None:
    try:
        services.store.finish(claim, result, lambda r, tally, step: decide(r, tally, step, result))
    except ClaimLost:
        _undo(run, claim.ticket.step, result, services)
        raise


def _undo(run: Run, step: Step, result: dict[str, Any], services: Services) -> None:
    """Take back what a step did that another worker was faster to record, or nobody wants."""
    if step.kind is StepKind.CAPTURE:
        winner = services.store.row(run.id, step).result
        if winner is None or winner["staged"] != result["staged"]:
            discard(run.id, result, services)
    elif step.kind in (StepKind.UPLOAD, StepKind.COMMIT):
        # It may have finished its put after the run's report had swept.
        now = services.store.load(run.id)
        if now.closing:
            sweep_targets(now, services)


def _record_failure(
    run: Run, claim: Claim, services: Services, code: str, message: str, *, wait: float | None
) -> None:
    """Record a failure. ``wait``: seconds to leave alone what failed; ``None``: for good."""
    step = claim.ticket.step
    left = claim.attempt < services.limits.attempts
    again = wait is not None and left and not _given_up(run, step, services, asleep=wait > 0)
    log.info("step-failed run=%s step=%s error=%s again=%s", run.id, step, code, again)
    services.store.fail(
        claim,
        f"{code}: {message}",
        retry_in=_backoff(claim.attempt, services.limits.backoff) + (wait or 0.0) if again else None,
        settle=None if again else exhausted(step),
        decide=decide_given_up,
    )


def _asked(error: StrongroomError) -> float | None:
    """Return how long an error's cause asks to be left alone, or ``None`` if it is no passing one.

    A target's circuit breaker says so: tries within its pause would all be spent in vain.
    """
    if not error.transient:
        return None
    asked = error.retry_after if isinstance(error, TargetUnavailable) else None
    return min(asked or 0.0, LONGEST_PAUSE)


def _given_up(run: Run, step: Step, services: Services, *, asleep: bool) -> bool:
    """Tell whether to try a target no more in this run.

    One that has already cost the run its retries costs each further container one try, not
    five. One that asks to be left alone (``asleep``) is waited for only if the run needs it:
    a dead region costs seconds then, and the next repair brings it up.
    """
    if step.kind not in TOLERATED or not step.target:
        return False
    tally = services.store.tally(run.id)
    missed = tally.of(step.kind, target=step.target, states=(StepState.MISSED,)) > 0
    return missed or (asleep and not _needed(run, step, tally))


def _needed(run: Run, step: Step, tally: Tally) -> bool:
    """Tell whether the policy's quorum is not met by the targets that are through with this kind of step.

    A repair needs nobody: it comes again with the next slot.
    """
    if step.kind is StepKind.REPAIR:
        return False
    through = complete_targets(run.spec, tally, run.facts["plan"]["pieces"], kind=step.kind)
    return missing_from_quorum(run.spec, through) is not None


def _backoff(attempt: int, base: float) -> float:
    return base * float(2 ** (attempt - 1)) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter


# -- decisions: pure, called inside the transaction that records the outcome ---


def decide_given_up(run: Run, tally: Tally, step: Step) -> Verdict:
    """Decide after a step was given up that the run can do without (MISSED)."""
    return decide(run, tally, step, {})


def decide(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    """Decide what follows from a recorded outcome."""
    if step.kind is StepKind.REPORT:
        return Verdict(state=RunState(result["state"]), error=result["error"], facts={"report": dict(result)})
    verdict = _DECIDERS[run.spec.kind](run, tally, step, result)
    return structs.replace(verdict, wake=(step.kind,)) if _meets_quorum(run, tally, step) else verdict


def _meets_quorum(run: Run, tally: Tally, step: Step) -> bool:
    """Tell whether it is this step with which the policy's quorum is met.

    A resting region was waited for until now. Tried once more, it is there, or is given up at once.
    """
    if step.kind not in (StepKind.UPLOAD, StepKind.VERIFY) or not tally.unsettled(step.kind):
        return False
    through = complete_targets(run.spec, tally, run.facts["plan"]["pieces"], kind=step.kind)
    before = tuple(name for name in through if name != step.target)
    lacked = missing_from_quorum(run.spec, before) is not None
    return lacked and missing_from_quorum(run.spec, through) is None


def _decide_backup(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    match step.kind:
        case StepKind.PLAN:
            pieces = range(result["plan"]["pieces"])
            return Verdict(facts=result, follow=tuple(Step(StepKind.CAPTURE, piece) for piece in pieces))
        case StepKind.CAPTURE:
            return Verdict(
                follow=tuple(Step(StepKind.UPLOAD, step.piece, pin.name) for pin in run.spec.targets)
            )
        case StepKind.UPLOAD:
            return _decide_uploaded(run, tally)
        case StepKind.COMMIT:
            facts = {name: result[name] for name in ("manifest", "counts", "unlocked", "left_out")}
            return Verdict(facts=facts, follow=_verifications(run.facts["plan"]["pieces"], result["targets"]))
        case _:
            return _report_when_settled(tally)


def _decide_uploaded(run: Run, tally: Tally) -> Verdict:
    pieces = run.facts["plan"]["pieces"]
    captured = tally.of(StepKind.CAPTURE, states=(StepState.DONE,))
    if captured < pieces or tally.unsettled(StepKind.UPLOAD):
        return Verdict()
    lacking = missing_from_quorum(run.spec, complete_targets(run.spec, tally, pieces))
    if lacking:
        return Verdict(state=RunState.FAILED, error=f"QuorumNotMet: {lacking}")
    return Verdict(follow=(Step(StepKind.COMMIT),))


def _decide_verify(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    if step.kind is not StepKind.PLAN:
        return _report_when_settled(tally)
    follow = _verifications(result["plan"]["pieces"], result["present"])
    return Verdict(facts=result, follow=follow or (REPORT,))


def _decide_repair(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    match step.kind:
        case StepKind.PLAN:
            lacking = [Step(StepKind.REPAIR, piece, target) for target, piece in result["lacking"]]
            nothing = REPORT if result["idle"] else Step(StepKind.COMMIT)
            return Verdict(facts=result, follow=tuple(lacking) or (nothing,))
        case StepKind.REPAIR:
            return Verdict() if tally.unsettled(StepKind.REPAIR) else Verdict(follow=(Step(StepKind.COMMIT),))
        case StepKind.COMMIT:
            doubted = [name for name in result["targets"] if name not in run.facts.get("held", ())]
            follow = _verifications(run.facts["plan"]["pieces"], doubted)
            return Verdict(facts={"unlocked": result["unlocked"]}, follow=follow or (REPORT,))
        case _:
            return _report_when_settled(tally)


def _decide_restore(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    return Verdict(facts={"restore": dict(result)}, follow=(REPORT,))


def _decide_drill(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    following = {
        StepKind.DRILL_RESTORE: Step(StepKind.DRILL_COMPARE),
        StepKind.DRILL_COMPARE: Step(StepKind.DRILL_TEARDOWN),
        StepKind.DRILL_TEARDOWN: REPORT,
    }
    return Verdict(facts={step.kind.value: dict(result)}, follow=(following[step.kind],))


def _decide_rotate(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    if step.kind is StepKind.PLAN:
        first = rotate_slice.first_steps(run, result["plan"]["pieces"])
        return Verdict(facts=result, follow=first or (REPORT,))
    if follow := rotate_slice.following(run, step, result):
        return Verdict(follow=follow)
    busy = any(tally.unsettled(kind) for kind in rotate_slice.KINDS)
    return Verdict() if busy else Verdict(follow=(REPORT,))


_DECIDERS: Mapping[RunKind, Callable[[Run, Tally, Step, Result], Verdict]] = {
    RunKind.BACKUP: _decide_backup,
    RunKind.VERIFY: _decide_verify,
    RunKind.REPAIR: _decide_repair,
    RunKind.RESTORE: _decide_restore,
    RunKind.DRILL: _decide_drill,
    RunKind.ROTATE: _decide_rotate,
}


def _verifications(pieces: int, targets: list[str]) -> tuple[Step, ...]:
    return tuple(Step(StepKind.VERIFY, piece, target) for target in targets for piece in range(pieces))


def _report_when_settled(tally: Tally) -> Verdict:
    return Verdict() if tally.unsettled(StepKind.VERIFY) else Verdict(follow=(REPORT,))
