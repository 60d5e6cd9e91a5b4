"""The verification as a job: plan → verify × N × targets → report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from strongroom.model import Depth
from strongroom.operations.backup import outcome
from strongroom.operations.backup.outcome import replica_outcome
from strongroom.operations.backup.repair import ToVerify, list_to_verify
from strongroom.operations.backup.verify import (
    REPORT,
    VERIFY,
    had_backup,
    newest,
    quorum_is_open,
    report_when_settled,
    spec_about,
    verifications,
)
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.integrity import TERMS
from strongroom.operations.engine.jobs import Ending, Job, Result, StepAction
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted, submit
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
    in_turn = True
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
        read = outcome.read_back(run, services)
        return outcome.record_replicas(run, read, services)

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "no backup was touched; what it had not read back yet is not known"

    def outcome(self, run: Run, services: Services) -> Ending:
        return replica_outcome(run, outcome.read_back(run, services), services)

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
