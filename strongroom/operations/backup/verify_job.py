"""The verification as a job: plan → verify × N × targets → report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from strongroom.model import Depth
from strongroom.operations.backup import replica_verdicts
from strongroom.operations.backup.existing import had_backup, newest, spec_about
from strongroom.operations.backup.outcome import replica_outcome
from strongroom.operations.backup.quorum import quorum_is_open
from strongroom.operations.backup.repair import ToVerify, list_to_verify
from strongroom.operations.backup.verify import REPORT, VERIFY, report_when_settled, verifications
from strongroom.operations.run_integrity import TERMS
from strongroom.operations.runs.job import Ending, Job, Result, StepAction
from strongroom.operations.runs.submit import Submitted, submit
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.state.records import (
    Pool,
    Run,
    RunKind,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    Tally,
)


class VerifyJob(Job):
    """Reads a backup back from every target of its policy."""

    first = RunStep(StepKind.PLAN)
    opens = True
    reads = True
    terms = TERMS
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(list_to_verify, ToVerify, Pool.CONTROL),
        StepKind.VERIFY: VERIFY,
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        if isinstance(result, ToVerify):
            return StepConsequence(follow=verifications(result.plan.pieces, result.present) or (REPORT,))
        return report_when_settled(run, tally, step)

    def worth_a_pause(self, run: Run, tally: Tally, step: RunStep) -> bool:
        return quorum_is_open(run, tally, step)

    def record(self, run: Run, services: Services) -> Sequence[str]:
        read = replica_verdicts.read_back(run, services)
        return replica_verdicts.record_replicas(run, read, services)

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "no backup was touched; what it had not read back yet is not known"

    def outcome(self, run: Run, services: Services) -> Ending:
        return replica_outcome(run, replica_verdicts.read_back(run, services), services)

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the verification that a slot runs; nothing at a time before the policy's first backup."""
        if not had_backup(services, entry.policy, due):
            return None
        depth = Depth(entry.options["depth"])
        return spec_about(services, RunKind.VERIFY, newest(services, entry.policy), depth=depth)


JOB = VerifyJob()


def submit_verify(
    services: Services, *, backup: str, depth: Depth = Depth.DIGEST, request_id: str | None = None
) -> Submitted:
    """Create a run that reads a backup back from every target of its policy."""
    return submit(services, spec_about(services, RunKind.VERIFY, backup, depth=depth), request_id=request_id)
