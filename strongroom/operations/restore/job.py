"""The restore as a job, and what it tells of itself."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import FormatError, VerificationFailed
from strongroom.errors import StrongroomError, by_name
from strongroom.model import Selection, prepare
from strongroom.operations.archive.envelopes import describe_aside
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.backup.verify import spec_about
from strongroom.operations.engine.integrity import TERMS
from strongroom.operations.engine.jobs import ApprovedJob, Ending, Result, RunAccount, StepAction, read_result
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted, submit
from strongroom.operations.errors import ApprovalNeeded, RunDegraded
from strongroom.operations.restore.journal import NAMES, Restored
from strongroom.operations.restore.staged import (
    Approved,
    FixedBackup,
    RestoreComparison,
    RestoreFacts,
    RestoreOptions,
    RunRestored,
    StagedPlan,
    facts_of,
    objective_of,
    options_of,
)
from strongroom.operations.restore.step import (
    approve_step,
    compare_step,
    fix_backup,
    plan_step,
    restore_step,
)
from strongroom.sources.errors import SourceUnavailable
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    RESTORING,
    Pool,
    Run,
    RunKind,
    RunState,
    RunStep,
    StepConsequence,
    StepKind,
    StepRow,
    StepState,
    Tally,
)
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.times import about, at_least, measured
from strongroom.words import plural, verb

# -- How far a restore run is, how fast it goes, and how it stands to its objective: from the record alone


class Progress(Struct, frozen=True, kw_only=True):
    """How far a restore is.

    ``done`` of ``total`` secrets are as the plan wants them, or were left. ``seconds`` is how long the run
    takes so far, or took, and ``objective_seconds`` how long it may take (0: nobody said). ``rate`` is how
    many secrets a second it does, and ``left_seconds`` how long the rest takes at that; zero where it is not
    known.
    """

    done: int
    total: int
    seconds: float
    objective_seconds: float
    rate: float = 0.0
    left_seconds: float = 0.0


prepare(Progress)


def progress_of(run: Run, rows: Iterable[StepRow], *, now: float) -> Progress | None:
    """Return how far a restore or an undo is; ``None`` before it has a plan. Raises RecordRefused."""
    facts = facts_of(run)
    if facts.restore_plan is None:
        return None
    pieces = [row for row in rows if row.step.kind is StepKind.RESTORE]
    ended = [row for row in pieces if row.state is StepState.DONE]
    done = sum(read_result(run, row.step, row.result, RunRestored).total for row in ended)
    total = facts.restore_plan.counts.total
    began = min((row.started_at for row in pieces if row.started_at), default=now)
    until = max((row.finished_at for row in ended if row.finished_at), default=now)
    rate = done / max(until - began, 0.001) if done else 0.0
    compared = facts.restore_compare
    options = options_of(run) if run.spec.kind is not RunKind.UNDO else None
    return Progress(
        done=done,
        total=total,
        seconds=compared.seconds if compared else (run.finished_at or now) - run.created_at,
        objective_seconds=objective_of(options, run.spec.selection) if options else 0.0,
        rate=rate,
        left_seconds=(total - done) / rate if rate else 0.0,
    )


# -- What a restore, a recovery or an undo tells of itself: how far it is, how fast, and what it did


START = "strongroom up --with-recover"
_DID = {
    "created": "created",
    "changed": "changed",
    "removed": "removed",
    "unchanged": "as they were to be",
    "left": "left as they are",
    "moved": "changed since the plan, and left",
    "not_done": "not restored",
}


def restore_account(
    run: Run, rows: Sequence[StepRow], facts: RestoreFacts, *, shown: Mapping[str, object] | None = None
) -> RunAccount:
    """Return what a run that restores tells of itself. ``shown``: what machines are to be told besides."""
    progress = progress_of(run, rows, now=time.time()) if rows else None  # a list of runs has no steps
    plan = facts.restore_plan
    document = {
        "plan": {"digest": plan.digest, "counts": plan.counts} if plan else None,
        "progress": progress,
        "restore": facts.restore,
        "restore_compare": facts.restore_compare,
        **(shown or {}),
    }
    told: dict[str, Any] = msgspec.to_builtins({"restore": document, "undo_by": _undo(run, facts)})
    return RunAccount(tuple(_pairs(run, rows, facts, progress)), told)


def _pairs(
    run: Run, rows: Sequence[StepRow], facts: RestoreFacts, progress: Progress | None
) -> Iterator[tuple[str, object]]:
    asked = [row for row in rows if row.step.kind in RESTORING]
    if asked and not run.state.final and not any(row.attempts for row in asked):
        yield "needs", f"the recover workers, which normally do not run: '{START}'"
    if progress is not None:
        yield from _going(run, progress)
    if facts.restore is not None:
        yield "did" if run.state.final else "so far", _done(facts.restore, ended=run.state.final)
        yield from (("not as it was", loss) for loss in facts.restore.losses[:3])
        more = len(facts.restore.losses) - 3
        yield "", f"and {more:,} more such lines, which --json has" if more > 0 else None
        yield "on record in", facts.restore.record
        for target, why in facts.restore.away.items():
            yield f"not from {target}", f"{why} (read from another target instead)"
    if facts.restore_compare is not None:
        yield "compared", _compared(facts.restore_compare)
    yield "undo", _undo(run, facts)


def _undo(run: Run, facts: RestoreFacts) -> str | None:
    """Return the command that takes back what a run wrote, if it wrote something."""
    done = facts.restore if run.state.final else None
    wrote = done is not None and (done.created or done.changed or done.removed)
    by_the_cluster = " --cluster" if run.spec.targets else ""
    return f"strongroom restore undo {run.id}{by_the_cluster}" if wrote else None


def _going(run: Run, progress: Progress) -> Iterator[tuple[str, object]]:
    if not run.state.final:
        share = f" ({progress.done / progress.total:.0%})" if progress.total else ""
        yield "progress", f"{progress.done:,} of {plural(progress.total, 'secret')}{share}"
        if progress.rate:
            left = at_least(progress.left_seconds) if progress.done < progress.total else "none"
            yield "pace", f"{progress.rate:,.0f} secrets a second; left: {left}, then all is compared"
    if objective := progress.objective_seconds:
        met = "met" if progress.seconds <= objective else "MISSED"
        took = f"took {measured(progress.seconds)}: {met}"
        if not run.state.final:
            left = f"{about(objective - progress.seconds)} left" if met == "met" else met
            took = f"{measured(progress.seconds)} so far: {left}"
        yield "objective", f"{about(objective)}; {took}"


def _done(done: RunRestored, *, ended: bool) -> str:
    counts = [f"{count:,} {words}" for name, words in _DID.items() if (count := getattr(done, name))]
    return ", ".join(counts) or ("nothing was to be written" if ended else "nothing is written yet")


def _compared(compared: RestoreComparison) -> str:
    differ = f", {compared.differ:,} not" if compared.differ else ""
    return f"{plural(compared.same, 'secret')} equal to the backup{differ}"


# -- The restore as a job: plan → restore plan → approve → restore × pieces, wave by wave → compare → report


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
    keeps_steps = True
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
        shortfalls = list(_said(facts.restore, facts.restore_compare, into=options.destination))
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


def shortfalls(done: Restored, compared: RestoreComparison | None, *, into: str) -> Iterator[StrongroomError]:
    """Yield what a restore left as it is, or what is no longer as it left it: the worst first."""
    since = differing_since(done, compared)
    if since:
        said = f"{plural(since, 'secret')} in '{into}' {verb(since, 'differ')} from the backup again"
        yield VerificationFailed(f"{said}.", hint=_AGAIN)
    if done.moved:
        said = f"{plural(done.moved, 'secret')} in '{into}' changed since the plan was made"
        yield RunDegraded(f"{said}, and {_were_left(done.moved)}.", hint=_MOVED)
    if done.left:
        said = f"{plural(done.left, 'secret')} in '{into}' {verb(done.left, 'differ')} from the backup"
        yield RunDegraded(f"{said} and {_were_left(done.left)}.", hint=_LEFT)


def differing_since(done: Restored, compared: RestoreComparison | None) -> int:
    """Count what was as in the backup, and was not when it was compared once more."""
    if compared is None:
        return 0
    return max(0, compared.differ - done.left - done.moved - done.not_done)


def _were_left(count: int) -> str:
    return f"{verb(count, 'were')} left as {'it is' if count == 1 else 'they are'}"


_AGAIN = "Somebody wrote there meanwhile. Look at who does, then restore once more, or leave it as it is."
_MOVED = (
    "They were not changed; everything else in the plan was done. Look at who changed them, then make "
    "another plan for what is left: strongroom restore --plan-out FILE."
)
_LEFT = (
    "They were not changed. Decide which side is right (--dry-run says which is newer). "
    "--overwrite-existing replaces what differs, and writes an undo file first."
)


def _said(done: RunRestored, compared: RestoreComparison | None, *, into: str) -> Iterator[str]:
    if done.not_done:
        by = ", ".join(f"{count:,} {code}" for code, count in done.not_done_by.items())
        yield f"{plural(done.not_done, 'secret')} could not be restored ({by})"
    yield from (shortfall.message.rstrip(".") for shortfall in shortfalls(done, compared, into=into))
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
