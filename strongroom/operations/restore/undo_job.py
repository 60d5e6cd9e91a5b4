"""The undoing of a restore run as a job: plan → restore plan → approve → undo → report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from strongroom.errors import UsageError
from strongroom.operations.backup.existing import spec_of_policy
from strongroom.operations.errors import ApprovalNeeded
from strongroom.operations.restore.account import restore_account
from strongroom.operations.restore.facts import Approved, RunRestored, StagedPlan, UndoOptions, facts_of
from strongroom.operations.restore.job import PASSING, REPORT
from strongroom.operations.restore.journal import NAMES
from strongroom.operations.restore.undo_step import (
    FixedRestore,
    approve_undo,
    fix_restore,
    plan_undo,
    undo_step,
)
from strongroom.operations.run_integrity import TERMS
from strongroom.operations.runs.approved_job import ApprovedJob
from strongroom.operations.runs.job import Ending, Result, RunAccount, StepAction
from strongroom.operations.runs.submit import Submitted, submit
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    RESTORES,
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
from strongroom.words import plural, verb

UNDO = RunStep(StepKind.RESTORE)


class UndoJob(ApprovedJob):
    """Brings back what a restore run replaced, and removes what it created, where nobody changed it since."""

    first = RunStep(StepKind.PLAN)
    opens = True
    terms = TERMS
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(fix_restore, FixedRestore, Pool.CONTROL),
        StepKind.RESTORE_PLAN: StepAction(plan_undo, StagedPlan, Pool.RECOVER, waits_for=PASSING),
        StepKind.APPROVE: StepAction(approve_undo, Approved, Pool.RECOVER, waits_for=(ApprovalNeeded,)),
        StepKind.RESTORE: StepAction(undo_step, RunRestored, Pool.RECOVER, waits_for=PASSING),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        match result:
            case FixedRestore():
                return StepConsequence(follow=(RunStep(StepKind.RESTORE_PLAN),))
            case StagedPlan():
                follow = REPORT if run.spec.options.get("only_plan") else RunStep(StepKind.APPROVE)
                return StepConsequence(facts={"restore_plan": msgspec.to_builtins(result)}, follow=(follow,))
            case Approved():
                return StepConsequence(follow=(UNDO,))
            case _:
                return StepConsequence(facts={"restore": msgspec.to_builtins(result)}, follow=(REPORT,))

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "what was undone by then stays"

    def account(self, run: Run, rows: Sequence[StepRow]) -> RunAccount:
        return restore_account(run, rows, facts_of(run))

    def outcome(self, run: Run, services: Services) -> Ending:
        """Say what somebody changed since the restore, which is left to them."""
        done = facts_of(run).restore
        if run.spec.options.get("only_plan"):
            return Ending(RunState.DONE)
        if done is None:
            raise RecordRefused(f"run {run.id} does not record what it undid")
        shortfalls = list(_shortfalls(done))
        if not shortfalls:
            return Ending(RunState.DONE)
        shortfalls.append(f"each is named in {done.record}/{NAMES}")
        return Ending(RunState.DEGRADED, "; ".join(shortfalls))


JOB = UndoJob()


def _shortfalls(done: RunRestored) -> Iterator[str]:
    if done.left:
        yield f"{plural(done.left, 'secret')} {verb(done.left, 'were')} changed since the restore, and left"
    if done.not_done:
        by = ", ".join(f"{count:,} {code}" for code, count in done.not_done_by.items())
        yield f"{plural(done.not_done, 'secret')} could not be undone ({by})"


def submit_undo(services: Services, *, options: UndoOptions, request_id: str | None = None) -> Submitted:
    """Create a run that undoes a restore run, or an undo.

    Raises:
        UsageError: the run is no restore, or is still at work.
    """
    undone = services.store.find(options.undoes)
    if undone.spec.kind not in RESTORES:
        raise UsageError(
            f"Run {undone.id} is a {undone.spec.kind.value}, which there is no undoing.",
            hint="'strongroom restore undo ID' undoes what a command restored, on the host where it did.",
        )
    if not undone.state.final:
        raise UsageError(
            f"Run {undone.id} is still at work; nothing was submitted.",
            hint=f"Wait for its end, or end it: 'strongroom runs cancel {undone.id}'.",
        )
    destination = undone.spec.options.get("destination", "")
    given = msgspec.structs.replace(options, undoes=undone.id, destination=destination)
    about = {name: getattr(undone.spec, name) for name in ("source", "values", "backup")}
    spec = spec_of_policy(
        services, RunKind.UNDO, undone.spec.policy, options=msgspec.to_builtins(given), **about
    )
    return submit(services, spec, request_id=request_id)
