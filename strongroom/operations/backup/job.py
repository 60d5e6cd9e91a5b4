"""The backup as a job: plan → capture × N → upload × N × targets → commit → verify × N × targets → report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from strongroom.errors import UsageError
from strongroom.model import COMMAND
from strongroom.operations.archive.file_backups import made_by_a_command
from strongroom.operations.backup import interrupted_commit, replica_verdicts
from strongroom.operations.backup.capture import capture, discard
from strongroom.operations.backup.commit import commit, take_back
from strongroom.operations.backup.outcome import backup_outcome, fewer_secrets
from strongroom.operations.backup.plan import plan
from strongroom.operations.backup.quorum import (
    complete_targets,
    missing_from_quorum,
    needs_target,
    quorum_is_open,
    with_wake,
)
from strongroom.operations.backup.sweep import sweep_earlier, sweep_targets
from strongroom.operations.backup.upload import leave_stage, upload
from strongroom.operations.backup.verify_job import VERIFY, report_when_settled, verifications
from strongroom.operations.errors import QuorumNotMet
from strongroom.operations.runs.job import Action, Ending, Job, ReportFacts, Result, Where
from strongroom.operations.runs.submit import Submitted, submit
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunState, Spec, Step, StepKind, StepState, Tally, Verdict
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.targets.errors import TargetUnavailable

ROOM = (TargetFull, TargetReadOnly, TargetUnavailable)
"""What steps wait for that use the stage, the local store or a target: room, or an answer."""


class BackupJob(Job):
    """Seals what a policy selects and places it on its targets."""

    first = Step(StepKind.PLAN)
    terms = Spec.__struct_fields__
    actions: ClassVar[Mapping[StepKind, Action]] = {
        StepKind.PLAN: Action(plan, waits_for=ROOM),
        StepKind.CAPTURE: Action(capture, waits_for=ROOM, where=Where.FORKED),
        StepKind.UPLOAD: Action(upload, tolerated=True, waits_for=ROOM, where=Where.THREAD),
        StepKind.COMMIT: Action(commit, waits_for=(QuorumNotMet, TargetUnavailable)),
        StepKind.VERIFY: VERIFY,
    }

    def decide(self, run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
        match step.kind:
            case StepKind.PLAN:
                pieces = range(result["plan"]["pieces"])
                return Verdict(facts=result, follow=tuple(Step(StepKind.CAPTURE, piece) for piece in pieces))
            case StepKind.CAPTURE:
                uploads = (Step(StepKind.UPLOAD, step.piece, pin.name) for pin in run.spec.targets)
                return Verdict(follow=tuple(uploads))
            case StepKind.UPLOAD:
                return with_wake(_decide_uploaded(run, tally), run, tally, step)
            case StepKind.COMMIT:
                facts = {name: result[name] for name in _COMMITTED}
                pieces = run.facts["plan"]["pieces"]
                return Verdict(facts=facts, follow=verifications(pieces, result["targets"]))
            case _:
                return report_when_settled(run, tally, step)

    def must_wait(self, run: Run, tally: Tally, step: Step) -> bool:
        """Wait for a target only if the quorum needs it. Otherwise a repair brings the replica later."""
        return needs_target(run, tally, step)

    def worth_a_pause(self, run: Run, tally: Tally, step: Step) -> bool:
        return quorum_is_open(run, tally, step)

    def after_step(self, run: Run, step: Step, services: Services) -> None:
        if step.kind is StepKind.UPLOAD:
            leave_stage(run, step.piece, services)

    def take_back(self, run: Run, step: Step, result: Result, services: Services) -> None:
        if step.kind is StepKind.CAPTURE:
            winner = services.store.row(run.id, step).result
            if winner is None or winner["staged"] != result["staged"]:
                discard(result, services)
        elif step.kind in (StepKind.UPLOAD, StepKind.COMMIT):
            _take_back_placed(run, step, result, services)

    def sweep(self, run: Run, services: Services) -> dict[str, str]:
        return sweep_targets(run, services)

    def record(self, run: Run, services: Services) -> Sequence[str]:
        read = replica_verdicts.read_back(run, services)
        replica_verdicts.record(read, services)
        return sorted(read.good)

    def outcome(self, run: Run, services: Services) -> Ending:
        return backup_outcome(run, replica_verdicts.read_back(run, services), services)

    def report_facts(self, run: Run, services: Services) -> ReportFacts:
        fewer = fewer_secrets(run, services)
        swept = sweep_earlier(run, services)
        return ReportFacts(kept=interrupted_commit.kept(run, services), swept=swept, fewer=fewer)

    def check_retry(self, run: Run, services: Services) -> None:
        """Refuse to begin a backup anew that was made, which would damage it, or whose file went with its
        process."""
        if run.spec.policy == COMMAND:
            raise made_by_a_command(services, run.id)
        if "manifest" in run.facts:
            raise UsageError(
                f"run {run.id} did make a backup", hint=f"Mend it: 'strongroom repair {run.id}'."
            )

    def scheduled_spec(self, entry: Scheduled, services: Services) -> Spec:
        return services.pinned(entry.policy).spec


JOB = BackupJob()

_COMMITTED = ("manifest", "counts", "unlocked", "left_out", "unplaced")


def _decide_uploaded(run: Run, tally: Tally) -> Verdict:
    pieces = run.facts["plan"]["pieces"]
    captured = tally.of(StepKind.CAPTURE, states=(StepState.DONE,))
    if captured < pieces or tally.unsettled(StepKind.UPLOAD):
        return Verdict()
    lacking = missing_from_quorum(run.spec, complete_targets(run.spec, tally, pieces))
    if lacking:
        return Verdict(state=RunState.FAILED, error=f"QuorumNotMet: {lacking}")
    return Verdict(follow=(Step(StepKind.COMMIT),))


def _take_back_placed(run: Run, step: Step, result: Result, services: Services) -> None:
    """Sweep again if the run is ending: the step may have placed something after the report had swept."""
    now = services.store.load(run.id)
    if not now.closing:
        return
    if step.kind is StepKind.COMMIT and "manifest" not in now.facts:
        take_back(now, result["created"], services)
        # The sweep enters what the targets still show.
        for pin in now.spec.targets:
            services.store.drop_replica(now.id, pin.name)
    sweep_targets(now, services)


def submit_backup(services: Services, *, policy: str, request_id: str | None = None) -> Submitted:
    """Create a run of a policy and return its id and what to send first."""
    return submit(services, services.pinned(policy).spec, request_id=request_id)
