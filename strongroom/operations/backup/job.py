"""The backup as a job: plan → capture × N → upload × N × targets → commit → verify × N × targets → report.

Beside the verification the index of names is made, vouched for and uploaded: index → index-receipt →
index-upload × targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from msgspec.structs import replace

from strongroom.errors import UsageError
from strongroom.model import COMMAND
from strongroom.operations.archive.inventory import made_by_a_command
from strongroom.operations.backup import commit, outcome
from strongroom.operations.backup.capture import Captured, capture, discard
from strongroom.operations.backup.commit import Committed, Uploaded, clear_stage, take_back, upload
from strongroom.operations.backup.commit import commit as commit_manifest
from strongroom.operations.backup.name_index import (
    Indexed,
    IndexUploaded,
    Vouched,
    abort_uploads,
    index,
    upload_index,
    vouch,
)
from strongroom.operations.backup.outcome import (
    backup_outcome,
    count_missing_secrets,
    sweep_earlier,
    sweep_targets,
    targets_of,
)
from strongroom.operations.backup.plan import BackupPlan, plan
from strongroom.operations.backup.verify import (
    VERIFY,
    complete_targets,
    has_manifest,
    missing_from_quorum,
    needs_target,
    pieces_of,
    quorum_is_open,
    report_when_settled,
    verifications,
    with_wake,
)
from strongroom.operations.engine import integrity, run_log
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.jobs import Ending, Job, ReportFacts, Result, StepAction, Where, to_facts
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted, submit
from strongroom.operations.errors import QuorumNotMet
from strongroom.operations.evidence.ledger_heads import put_heads_at_end
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
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.targets.errors import TargetUnavailable

ROOM = (TargetFull, TargetReadOnly, TargetUnavailable)
"""What steps wait for that use the stage, the local store or a target: room, or an answer."""


class BackupJob(Job):
    """Seals what a policy selects and places it on its targets."""

    first = RunStep(StepKind.PLAN)
    in_turn = True
    apart = True  # its index of names continues that of the one before it
    seals = True
    carries = frozenset({StepKind.CAPTURE, StepKind.UPLOAD})
    terms = integrity.WHOLE
    states = MappingProxyType(
        {
            RunState.ACTIVE: "running",
            RunState.DONE: "done: a good backup on every target",
            RunState.DEGRADED: "degraded: a good backup, but short of what the policy asks for, "
            "as the error says",
            RunState.FAILED: "failed: there is no new backup, the last good one is untouched",
        }
    )
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(plan, BackupPlan, Pool.CONTROL, waits_for=ROOM),
        StepKind.CAPTURE: StepAction(capture, Captured, Pool.SEAL, waits_for=ROOM, where=Where.FORKED),
        StepKind.UPLOAD: StepAction(
            upload, Uploaded, Pool.TRANSFER, tolerated=True, waits_for=ROOM, where=Where.THREAD
        ),
        StepKind.COMMIT: StepAction(
            commit_manifest, Committed, Pool.CONTROL, waits_for=(QuorumNotMet, TargetUnavailable)
        ),
        StepKind.VERIFY: VERIFY,
        StepKind.INDEX: StepAction(index, Indexed, Pool.SEAL, tolerated=True),
        StepKind.INDEX_RECEIPT: StepAction(vouch, Vouched, Pool.CONTROL, tolerated=True),
        StepKind.INDEX_UPLOAD: StepAction(
            upload_index, IndexUploaded, Pool.TRANSFER, tolerated=True, where=Where.THREAD
        ),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        match result:
            case BackupPlan(plan=planned):
                return StepConsequence(
                    follow=tuple(RunStep(StepKind.CAPTURE, piece) for piece in range(planned.pieces))
                )
            case Captured():
                uploads = (RunStep(StepKind.UPLOAD, step.piece, pin.name) for pin in run.spec.targets)
                return StepConsequence(follow=tuple(uploads))
            case Committed(targets=targets):
                facts = to_facts(result, "manifest", "counts", "unlocked", "left_out", "unplaced")
                read_back = verifications(pieces_of(run), targets)
                indexed = run.spec.sealed and run.spec.policy != COMMAND
                return StepConsequence(facts=facts, follow=(*read_back, *[RunStep(StepKind.INDEX)] * indexed))
            case Indexed() | Vouched() if follow := _after_indexing(run, tally, result):
                return StepConsequence(follow=follow)
            case _ if step.kind is StepKind.UPLOAD:
                return with_wake(_decide_uploaded(run, tally), run, tally, step)
            case _:
                verdict = report_when_settled(run, tally, step)
                return replace(verdict, follow=()) if any(map(tally.unsettled, INDEXING)) else verdict

    def must_wait(self, run: Run, tally: Tally, step: RunStep) -> bool:
        """Wait for a target only if the quorum needs it. Otherwise a repair brings the replica later."""
        return step.kind not in INDEXING and needs_target(run, tally, step)

    def worth_a_pause(self, run: Run, tally: Tally, step: RunStep) -> bool:
        return step.kind not in INDEXING and quorum_is_open(run, tally, step)

    def after_step(self, run: Run, step: RunStep, services: Services) -> None:
        if step.kind is StepKind.UPLOAD:
            clear_stage(run, step.piece, services)
        if (
            has_manifest(run) and run.spec.policy != COMMAND
        ):  # a file is given away, and a head names policies
            put_heads_at_end(step, services, run.id)

    def take_back(self, run: Run, step: RunStep, result: Result, services: Services) -> None:
        match result:
            case Captured():
                discard(run, step, result, services)
            case Uploaded() | Committed():
                _take_back_placed(run, result, services)

    def sweep(self, run: Run, services: Services) -> dict[str, str]:
        left = sweep_targets(run, services)
        abort_uploads(run, services, [name for name in targets_of(run, services) if name not in left])
        return left

    def record(self, run: Run, services: Services) -> Sequence[str]:
        read = outcome.read_back(run, services)
        return outcome.record_replicas(run, read, services)

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        if has_manifest(run):
            return "the backup is made; it has not been read back from every target"
        if any(row.step.kind is StepKind.COMMIT for row in rows):
            whether = "whether the backup was made, a retry tells"
            return f"its containers are in place; {whether}; the last is untouched"
        return "there is no new backup; the last good one is untouched"

    def outcome(self, run: Run, services: Services) -> Ending:
        return backup_outcome(run, outcome.read_back(run, services), services)

    def report_facts(self, run: Run, services: Services) -> ReportFacts:
        fewer = count_missing_secrets(run, services)
        swept = sweep_earlier(run, services)
        return ReportFacts(kept=commit.targets_with_backup(run, services), swept=swept, fewer=fewer)

    def check_retry(self, run: Run, services: Services) -> None:
        """Refuse to begin a backup anew that was made, which would damage it, or whose file went with its
        process."""
        if run.spec.policy == COMMAND:
            raise made_by_a_command(services, run.id)
        if has_manifest(run):
            raise UsageError(
                f"run {run.id} did make a backup", hint=f"Mend it: 'strongroom backups repair {run.id}'."
            )

    def backup_of(self, run: Run) -> str:
        return run.id

    def entry_name(self, spec: Spec, slot: str) -> str:
        """Return the policy: its hooks are called for each of its backups, whoever asked for it."""
        return f"policy {spec.policy}"

    def scheduled_entries(self, entry: Scheduled, services: Services) -> tuple[Scheduled]:
        """Return the entry; where a policy's first backup failed and there is none yet, with more slots: else
        one that could not begin, since its passphrase or a right was not there yet, waits for a month."""
        if not (often := first_tries(services, entry.policy)):
            return (entry,)
        tried, now = replace(entry, schedule=often), services.store.clock()
        apart, usual = (
            scheduled_entry.interval(scheduled_entry.next(now) or now) for scheduled_entry in (tried, entry)
        )
        return (tried if apart < usual else entry,)

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec:
        return services.pinned(entry.policy).spec


HOURLY, DAILY = "41 * * * *", "41 5 * * *"
A_DAY_OF_TRIES = 24


def first_tries(services: Services, policy: str) -> str:
    """Return when a policy's first backup is tried again by itself: every hour for a day, then every day.

    Empty if it has one, has none because there is nothing to back up, or a person ended the last.
    """
    runs = services.store.runs_of(policy, RunKind.BACKUP, limit=A_DAY_OF_TRIES)
    if not runs or runs[0].state is not RunState.FAILED or services.store.backups(policy=policy, limit=1):
        return ""
    if run_log.found_nothing_yet(runs[0]):
        return ""
    return HOURLY if len(runs) < A_DAY_OF_TRIES else DAILY


INDEXING = (StepKind.INDEX, StepKind.INDEX_RECEIPT, StepKind.INDEX_UPLOAD)
"""What a backup can do without, and waits for nothing and nobody."""
JOB = BackupJob()


def _after_indexing(run: Run, tally: Tally, result: Indexed | Vouched) -> tuple[RunStep, ...]:
    if isinstance(result, Indexed):
        return (RunStep(StepKind.INDEX_RECEIPT),) if result.staged else ()
    holding = complete_targets(run.spec, tally, pieces_of(run))
    return tuple(RunStep(StepKind.INDEX_UPLOAD, target=name) for name in holding)


def _decide_uploaded(run: Run, tally: Tally) -> StepConsequence:
    pieces = pieces_of(run)
    captured = tally.of(StepKind.CAPTURE, states=(StepState.DONE,))
    if captured < pieces or tally.unsettled(StepKind.UPLOAD):
        return StepConsequence()
    complete = complete_targets(run.spec, tally, pieces)
    if lacking := missing_from_quorum(run.spec, complete):
        without = ", ".join(f"'{pin.name}'" for pin in run.spec.targets if pin.name not in complete)
        why = f"; it is not on {without}: 'strongroom runs show {run.id}' says why" if without else ""
        return StepConsequence(state=RunState.FAILED, error=f"QuorumNotMet: {lacking}{why}")
    return StepConsequence(follow=(RunStep(StepKind.COMMIT),))


def _take_back_placed(run: Run, result: Uploaded | Committed, services: Services) -> None:
    """Sweep again if the run is ending: the step may have placed something after the report had swept."""
    now = services.store.load(run.id)
    if not now.closing:
        return
    if isinstance(result, Committed) and not has_manifest(now):
        take_back(now, result.created, services)
        # The sweep enters what the targets still show.
        for pin in now.spec.targets:
            services.store.drop_replica(now.id, pin.name)
    sweep_targets(now, services)


def submit_backup(services: Services, *, policy: str, request_id: str | None = None) -> Submitted:
    """Create a run of a policy and return its id and what to send first."""
    return submit(services, services.pinned(policy).spec, request_id=request_id)
