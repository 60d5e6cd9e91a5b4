"""The restore as a job: plan → restore plan → approve → restore × pieces, wave by wave → compare → report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

from strongroom.container.errors import FormatError
from strongroom.errors import by_name
from strongroom.model import Selection
from strongroom.operations.archive.envelopes import describe_aside
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.backup.existing import spec_about
from strongroom.operations.errors import ApprovalNeeded
from strongroom.operations.restore.account import restore_account
from strongroom.operations.restore.facts import (
    Approved,
    FixedBackup,
    RestoreComparison,
    RestoreOptions,
    RunRestored,
    StagedPlan,
    facts_of,
    options_of,
)
from strongroom.operations.restore.journal import NAMES, Restored
from strongroom.operations.restore.step import (
    approve_step,
    compare_step,
    fix_backup,
    plan_step,
    restore_step,
)
from strongroom.operations.run_integrity import TERMS
from strongroom.operations.runs.approved_job import ApprovedJob
from strongroom.operations.runs.job import Ending, Result, RunAccount, StepAction
from strongroom.operations.runs.submit import Submitted, submit
from strongroom.operations.services import Services
from strongroom.sources.errors import SourceUnavailable
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    Pool,
    Run,
    RunKind,
    RunState,
    RunStep,
    StepConsequence,
    StepKind,
    StepRow,
    Tally,
)
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.words import plural, verb

PASSING = (SourceUnavailable, TargetFull, TargetReadOnly)
"""What a restore waits for: a destination that does not answer, and room on the stage."""
COMPARE, REPORT = RunStep(StepKind.RESTORE_COMPARE), RunStep(StepKind.REPORT)
ALL_AT_ONCE = (1,)
"""The waves of a restore that is no plan's, or of a plan that is in one piece."""


class RestoreJob(ApprovedJob):
    """Restores a backup into a destination, by a plan.

    In a cluster the control workers fix the backup and sign the run. All else is done by the recover workers:
    they alone open backups and write to sources. A person at a command line performs all of it in one
    process, and need not plan.
    """

    first = RunStep(StepKind.PLAN)
    opens = True
    reads = True
    terms = TERMS
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(fix_backup, FixedBackup, Pool.CONTROL),
        StepKind.RESTORE_PLAN: StepAction(plan_step, StagedPlan, Pool.RECOVER, waits_for=PASSING),
        StepKind.APPROVE: StepAction(approve_step, Approved, Pool.RECOVER, waits_for=(ApprovalNeeded,)),
        StepKind.RESTORE: StepAction(restore_step, RunRestored, Pool.RECOVER, waits_for=PASSING),
        StepKind.RESTORE_COMPARE: StepAction(
            compare_step, RestoreComparison, Pool.RECOVER, waits_for=PASSING
        ),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        match result:
            case FixedBackup():
                planned = options_of(run).planned
                return StepConsequence(
                    follow=(RunStep(StepKind.RESTORE_PLAN) if planned else RunStep(StepKind.RESTORE, 0),)
                )
            case StagedPlan():
                follow = REPORT if options_of(run).only_plan else RunStep(StepKind.APPROVE)
                facts = {"restore_plan": result, "restore": _carried(run, result)}
                return StepConsequence(facts=msgspec.to_builtins(facts), follow=(follow,))
            case Approved():
                return StepConsequence(follow=_following(run, tally))
            case RunRestored():
                known = facts_of(run).restore or RunRestored(backup=result.backup)
                facts = {"restore": known.with_piece(result)}
                return StepConsequence(facts=msgspec.to_builtins(facts), follow=_following(run, tally))
            case _:
                return StepConsequence(
                    facts={"restore_compare": msgspec.to_builtins(result)}, follow=(REPORT,)
                )

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "what was restored by then stays"

    def account(self, run: Run, rows: Sequence[StepRow]) -> RunAccount:
        return restore_account(run, rows, facts_of(run))

    def outcome(self, run: Run, services: Services) -> Ending:
        """Hold a restore to what it was asked for: what differs afterwards, or is not there, is told."""
        facts, options = facts_of(run), options_of(run)
        plan = _planned(run) if options.planned else None
        if options.only_plan:
            return Ending(RunState.DONE)
        if facts.restore is None or (options.compare and facts.restore_compare is None):
            raise RecordRefused(f"run {run.id} does not record what it restored and compared")
        shortfalls = list(_shortfalls(facts.restore, facts.restore_compare))
        shortfalls += [plan.less] if plan is not None and plan.less else []
        shortfalls[:0] = _lost(plan, facts.restore)
        return Ending(RunState.DEGRADED, "; ".join(shortfalls)) if shortfalls else Ending(RunState.DONE)

    def shortfall_of(self, run: Run) -> Shortfall | None:
        plan = facts_of(run).restore_plan
        return plan.shortfall if plan is not None else None


JOB = RestoreJob()


def _planned(run: Run) -> StagedPlan:
    plan = facts_of(run).restore_plan
    if plan is None:
        raise RecordRefused(f"run {run.id} does not record what it is to restore")
    return plan


def _carried(run: Run, plan: StagedPlan) -> RunRestored:
    """Return what the run did before it was planned anew, if a retry took it up again."""
    before = facts_of(run).restore
    if before is None:
        return RunRestored(backup=plan.backup)
    kept = Restored(created=before.created, changed=before.changed, versions=before.versions)
    return replace(before, **{**msgspec.structs.asdict(kept), "not_done_by": {}})


def _following(run: Run, tally: Tally) -> tuple[RunStep, ...]:
    """Return the pieces of the next wave, once the one before it is done; after the last, what ends it."""
    if tally.unsettled(StepKind.RESTORE):
        return ()
    waves = _planned(run).waves if options_of(run).planned else ALL_AT_ONCE
    begun = tally.of(StepKind.RESTORE)
    if begun >= sum(waves):
        return (COMPARE if options_of(run).compare else REPORT,)
    wave = next(end for end in accumulate(waves) if end > begun)
    return tuple(RunStep(StepKind.RESTORE, piece) for piece in range(begun, wave))


def _lost(plan: StagedPlan | None, done: RunRestored) -> Iterator[str]:
    """Say what of the backup could not be read. It begins with the class of the first loss: by that the run
    ends for whoever waits for it."""
    since = next(
        (code for code in done.not_done_by if issubclass(by_name(code) or Exception, FormatError)), ""
    )
    if plan is not None and plan.lost is not None:
        yield f"{plan.lost.parts[0].code}: {plan.lost.said}"
        yield from (
            f"{taken_from.secrets:,} as in backup {taken_from.backup}, made {taken_from.created_at}"
            for taken_from in plan.lost.taken
        )
    elif since:
        yield f"{since}: backup {done.backup} was damaged after the plan was made: make another one"


def _shortfalls(done: RunRestored, compared: RestoreComparison | None) -> Iterator[str]:
    if done.not_done:
        by = ", ".join(f"{count:,} {code}" for code, count in done.not_done_by.items())
        yield f"{plural(done.not_done, 'secret')} could not be restored ({by})"
    if done.left:
        yield f"{plural(done.left, 'secret')} differ from the backup and were left as they are"
    if done.moved:
        yield f"{plural(done.moved, 'secret')} changed after the plan was made, and were left as they are"
    since = compared.differ - done.not_done - done.left - done.moved if compared is not None else 0
    if since > 0:
        yield f"{plural(since, 'secret')} {verb(since, 'differ')} from the backup again: somebody wrote there"
    if done.not_done or done.left or done.moved:
        yield f"each is named in {done.record}/*/{NAMES}"
    if aside := describe_aside([("", done.aside)]):
        yield f"restored, but {aside}"


def submit_restore(
    services: Services,
    *,
    backup: str,
    options: RestoreOptions,
    selection: Selection = Selection(),
    request_id: str | None = None,
) -> Submitted:
    """Create a run that restores into a configured destination."""
    given = msgspec.to_builtins(options)
    spec = spec_about(services, RunKind.RESTORE, backup, selection=selection, options=given)
    return submit(services, spec, request_id=request_id)
