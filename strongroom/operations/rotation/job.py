"""The rotation as a job: plan → rewrap × slices, rotate × what goes alone → report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from strongroom.operations.rotation import batch, rotate
from strongroom.operations.rotation.outcome import outcome, rotated_backups
from strongroom.operations.rotation.results import (
    BackupRotated,
    BackupRotationPlan,
    SliceRewrapped,
    backups_of,
)
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.operations.rotation.submit import has_older_backup, is_rotating, make_spec
from strongroom.operations.runs.job import Ending, Job, Result, RunAccount, StepAction, Where
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.state.records import (
    ROTATING,
    Pool,
    Run,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    Tally,
)
from strongroom.words import plural

REPORT = RunStep(StepKind.REPORT)


class RotateJob(Job):
    """Rotates the backups of a policy to the recipients that it names now.

    It has no ``terms``: a rotation asks the configuration itself whom it seals to.
    """

    first = RunStep(StepKind.PLAN)
    opens = True
    seals = True
    reads = True
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(rotate.plan, BackupRotationPlan, Pool.CONTROL),
        StepKind.REWRAP: StepAction(
            batch.rewrap, SliceRewrapped, Pool.RECOVER, tolerated=True, where=Where.FORKED_AFTER_FIRST
        ),
        StepKind.ROTATE: StepAction(rotate.rotate, BackupRotated, Pool.RECOVER, tolerated=True),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        if isinstance(result, BackupRotationPlan):
            return StepConsequence(follow=batch.first_steps(run, result.plan.pieces) or (REPORT,))
        if step.kind is StepKind.REWRAP and (follow := _after_slice(run, step, result)):
            return StepConsequence(follow=follow)
        busy = any(tally.unsettled(kind) for kind in ROTATING)
        return StepConsequence() if busy else StepConsequence(follow=(REPORT,))

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "every backup opens, some for the new keys already"

    def account(self, run: Run, rows: Sequence[StepRow]) -> RunAccount:
        """Count the backups: a step may be about many."""
        if "backups" not in run.facts:
            return RunAccount()
        done, plan = rotated_backups(run, rows), backups_of(run)
        told = (("rotated", f"{len(done)} of {plural(len(plan), 'backup')}"),)
        return RunAccount(told, {"rotated": {"done": len(done), "of": len(plan)}})

    def outcome(self, run: Run, services: Services) -> Ending:
        return outcome(run, services)

    def scheduled_entries(self, entry: Scheduled, services: Services) -> Iterable[Scheduled]:
        """Return an entry for each policy. A rotation that is going on already is left to end."""
        policies = (name for name in entry.options["policies"] if not is_rotating(services, name))
        return (entry.about(name, policy=name) for name in policies)

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the rotation of a policy that has backups from before the slot.

        It renews: what opens for the same keys is wrapped under the newest versions of them.
        """
        if not has_older_backup(services, entry.policy, due):
            return None
        return make_spec(
            services.pinned(entry.policy).spec, RotateOptions(renew=True, rate=entry.options["rate"])
        )


JOB = RotateJob()


def _after_slice(run: Run, step: RunStep, result: Result) -> tuple[RunStep, ...]:
    return batch.following(run, step, result if isinstance(result, SliceRewrapped) else None)
