"""The verification as a job: plan → verify × N × targets → report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from strongroom.model import Depth
from strongroom.operations.backup import replica_verdicts
from strongroom.operations.backup.existing import spec_about
from strongroom.operations.backup.outcome import replica_outcome
from strongroom.operations.backup.quorum import quorum_is_open, with_wake
from strongroom.operations.backup.repair import ToVerify, list_to_verify
from strongroom.operations.backup.verify import Verified, verify
from strongroom.operations.policy_pins import TERMS
from strongroom.operations.runs.job import Action, Ending, Job, Result, Where
from strongroom.operations.runs.submit import Submitted, submit
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunKind, Step, StepKind, Tally, Verdict

REPORT = Step(StepKind.REPORT)

VERIFY = Action(verify, Verified, tolerated=True, where=Where.FORKED)


class VerifyJob(Job):
    """Reads a backup back from every target of its policy."""

    first = Step(StepKind.PLAN)
    terms = TERMS
    actions: ClassVar[Mapping[StepKind, Action[Any]]] = {
        StepKind.PLAN: Action(list_to_verify, ToVerify),
        StepKind.VERIFY: VERIFY,
    }

    def decide(self, run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
        if isinstance(result, ToVerify):
            return Verdict(follow=verifications(result.plan.pieces, result.present) or (REPORT,))
        return report_when_settled(run, tally, step)

    def worth_a_pause(self, run: Run, tally: Tally, step: Step) -> bool:
        return quorum_is_open(run, tally, step)

    def record(self, run: Run, services: Services) -> Sequence[str]:
        read = replica_verdicts.read_back(run, services)
        replica_verdicts.record_replicas(read, services)
        return sorted(read.good)

    def outcome(self, run: Run, services: Services) -> Ending:
        return replica_outcome(run, replica_verdicts.read_back(run, services), services)


JOB = VerifyJob()


def verifications(pieces: int, targets: Sequence[str]) -> tuple[Step, ...]:
    """Return the steps that read each container back from these targets."""
    return tuple(Step(StepKind.VERIFY, piece, target) for target in targets for piece in range(pieces))


def report_when_settled(run: Run, tally: Tally, step: Step) -> Verdict:
    """Go on to the report once every container was read back, or given up."""
    verdict = Verdict() if tally.unsettled(StepKind.VERIFY) else Verdict(follow=(REPORT,))
    return with_wake(verdict, run, tally, step)


def submit_verify(
    services: Services, *, backup: str, depth: Depth = Depth.DIGEST, request_id: str | None = None
) -> Submitted:
    """Create a run that reads a backup back from every target of its policy."""
    return submit(services, spec_about(services, RunKind.VERIFY, backup, depth=depth), request_id=request_id)
