"""The rotation of secrets as a job: sign → plan → approve → rotate × secrets → report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from strongroom.errors import UsageError
from strongroom.operations import recorded_errors
from strongroom.operations.errors import ApprovalNeeded
from strongroom.operations.rotators.approval import approve_step
from strongroom.operations.rotators.plan import plan_rotation, unique_names
from strongroom.operations.rotators.records import (
    RotateSecretsOptions,
    RotationApproved,
    SecretsNamed,
    SecretsPlanned,
    StepRotated,
)
from strongroom.operations.rotators.step import rotate_step
from strongroom.operations.runs.abandoned import is_abandoned, take_up
from strongroom.operations.runs.approved_job import ApprovedJob
from strongroom.operations.runs.job import Ending, Result, StepAction, read_facts, to_facts
from strongroom.operations.runs.submit import Submitted, first_tickets, submit
from strongroom.operations.services import Services
from strongroom.sources.errors import SourceUnavailable
from strongroom.state.records import (
    Pool,
    Run,
    RunKind,
    RunState,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    StepState,
    Tally,
)
from strongroom.words import plural

REPORT = RunStep(StepKind.REPORT)
DAY = 86_400.0


def name_step(run: Run, step: RunStep, services: Services) -> SecretsNamed:
    """Have the run signed: no later step is performed for other names."""
    return SecretsNamed(count=len(RotateSecretsOptions.of(run).names))


def plan_step(run: Run, step: RunStep, services: Services) -> SecretsPlanned:
    """Find each secret's rotator by this process's own configuration."""
    options = RotateSecretsOptions.of(run)
    plan = plan_rotation(services, options.names, source=run.spec.source, incident=options.incident)
    numbered = tuple(enumerate(plan.secrets))
    return SecretsPlanned(
        digest=plan.digest,
        rotators=tuple("" if planned.already else planned.rotator for planned in plan.secrets),
        missing=tuple(number for number, planned in numbered if planned.missing),
        already=tuple(number for number, planned in numbered if planned.already),
    )


class RotateSecretsJob(ApprovedJob):
    """Gives secrets new values, one step each. One that fails keeps no other from its turn.

    The control workers sign the run. All else is done by the recover workers: they alone read and write
    secrets for it.
    """

    first = RunStep(StepKind.PLAN)
    subject = "source"
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(name_step, SecretsNamed, Pool.CONTROL),
        StepKind.ROTATE_SECRET_PLAN: StepAction(
            plan_step, SecretsPlanned, Pool.RECOVER, waits_for=(SourceUnavailable,)
        ),
        StepKind.APPROVE: StepAction(
            approve_step, RotationApproved, Pool.RECOVER, waits_for=(ApprovalNeeded,)
        ),
        StepKind.ROTATE_SECRET: StepAction(rotate_step, StepRotated, Pool.RECOVER, tolerated=True),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        match result:
            case SecretsNamed():
                return StepConsequence(follow=(RunStep(StepKind.ROTATE_SECRET_PLAN),))
            case SecretsPlanned():
                follow = RunStep(StepKind.APPROVE) if any(result.rotators) else REPORT
                return StepConsequence(facts=to_facts(result), follow=(follow,))
            case RotationApproved():
                planned = read_facts(run, SecretsPlanned).rotators
                pieces = (piece for piece, rotator in enumerate(planned) if rotator)
                return StepConsequence(
                    follow=tuple(RunStep(StepKind.ROTATE_SECRET, piece) for piece in pieces)
                )
        return (
            StepConsequence()
            if tally.unsettled(StepKind.ROTATE_SECRET)
            else StepConsequence(follow=(REPORT,))
        )

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "what was rotated by then stays; the secret that it was at is as its source says"

    def outcome(self, run: Run, services: Services) -> Ending:
        """Hold a rotation to what it was asked for: each secret that has no new value is told."""
        rows = services.store.rows(run.id, StepKind.ROTATE_SECRET)
        failed = sum(row.state is StepState.MISSED for row in rows)
        facts = read_facts(run, SecretsPlanned)
        left = sum(not rotator for rotator in facts.rotators) - len(facts.missing) - len(facts.already)
        counted = {
            "could not be rotated": failed,
            "without a rotator": left,
            "not at the source": len(facts.missing),
        }
        wrong = [f"{plural(count, 'secret')} {words}" for words, count in counted.items() if count]
        if not wrong:
            return Ending(RunState.DONE)
        to_do = f"'strongroom secrets rotate --show {run.id}' names each, and says what to do"
        return Ending(RunState.DEGRADED, recorded_errors.joined("; ".join(wrong), to_do))


JOB = RotateSecretsJob()


def submit_secrets(
    services: Services,
    *,
    source: str,
    options: RotateSecretsOptions,
    request_id: str | None = None,
) -> Submitted:
    """Create a run that gives secrets new values; or return the one of just these that has not ended.

    Raises:
        UsageError: no reason, no name, or too many; or another run of one of them has not ended.
    """
    if not options.reason.strip():
        raise UsageError("A rotation needs a reason: it goes on record.")
    wanted = msgspec.structs.replace(options, names=unique_names(options.names))
    if (going := _unended(services, source, wanted, request_id)) is not None:
        abandoned = is_abandoned(going, services.store, services.state_dir)
        return going.id, take_up(going.id, services) if abandoned else first_tickets(services, going.id)
    given: dict[str, Any] = msgspec.to_builtins(wanted)
    spec = Spec(kind=RunKind.ROTATE_SECRET, policy=source, source=source, options=given)
    return submit(services, spec, request_id=request_id)


def _unended(
    services: Services, source: str, wanted: RotateSecretsOptions, request_id: str | None
) -> Run | None:
    """Return the run of just these secrets that goes on, or whose process died: nothing is rotated twice.

    One of long ago is not gone on with: what it wrote may be known to others by now.
    """
    for run in services.store.active():
        if run.spec.kind is not RunKind.ROTATE_SECRET or run.spec.source != source:
            continue
        own = RotateSecretsOptions.of(run)
        recent = services.store.clock() - run.created_at < DAY
        fresh = recent or not services.store.rows(run.id, StepKind.ROTATE_SECRET)
        if request_id is None and fresh and (own.names, own.incident) == (wanted.names, wanted.incident):
            return run
        if run.request_id != request_id and (same := set(own.names) & set(wanted.names)):
            raise UsageError(
                f"Rotation {run.id}, of {plural(len(same), 'secret')} of these, has not ended.",
                hint=f"Nothing was changed. Go on with it: 'strongroom runs retry {run.id} --here'. "
                f"Or end it: 'strongroom runs cancel {run.id}'.",
            )
    return None
