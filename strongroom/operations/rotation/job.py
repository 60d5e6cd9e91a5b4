"""The rotation as a job: plan → rewrap × slices, rotate × what goes alone → report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from strongroom.operations.rotation import batch, rotate
from strongroom.operations.rotation.outcome import outcome
from strongroom.operations.rotation.results import BackupRotated, RotationPlan, SliceRewrapped
from strongroom.operations.runs.job import Action, Ending, Job, Result, Where
from strongroom.operations.services import Services
from strongroom.state.records import ROTATING, Run, Step, StepKind, Tally, Verdict

REPORT = Step(StepKind.REPORT)


class RotateJob(Job):
    """Rotates the backups of a policy to the recipients that it names now.

    It has no ``terms``: a rotation asks the configuration itself whom it seals to.
    """

    first = Step(StepKind.PLAN)
    actions: ClassVar[Mapping[StepKind, Action[Any]]] = {
        StepKind.PLAN: Action(rotate.plan, RotationPlan),
        StepKind.REWRAP: Action(batch.rewrap, SliceRewrapped, tolerated=True, where=Where.FORKED_AFTER_FIRST),
        StepKind.ROTATE: Action(rotate.rotate, BackupRotated, tolerated=True),
    }

    def decide(self, run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
        if isinstance(result, RotationPlan):
            return Verdict(follow=batch.first_steps(run, result.plan.pieces) or (REPORT,))
        if step.kind is StepKind.REWRAP and (follow := _after_slice(run, step, result)):
            return Verdict(follow=follow)
        busy = any(tally.unsettled(kind) for kind in ROTATING)
        return Verdict() if busy else Verdict(follow=(REPORT,))

    def outcome(self, run: Run, services: Services) -> Ending:
        return outcome(run, services)


JOB = RotateJob()


def _after_slice(run: Run, step: Step, result: Result) -> tuple[Step, ...]:
    return batch.following(run, step, result if isinstance(result, SliceRewrapped) else None)
