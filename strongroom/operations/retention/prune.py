"""The prune as a job: which backups it marks, and which it deletes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from strongroom.errors import ConfigError
from strongroom.model import EVERY_POLICY
from strongroom.operations.archive.deletions import forget_deleted
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.engine.jobs import (
    Ending,
    Job,
    R,
    Result,
    StepAction,
    Where,
    read_facts,
    read_result,
)
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted, submit
from strongroom.operations.retention.delete import Deleted, Marked, ToPrune, delete, mark, media, plan_prune
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
from strongroom.words import nearest, plural

REPORT = RunStep(StepKind.REPORT)
WORK = (StepKind.MARK, StepKind.DELETE)


class PruneJob(Job):
    """Deletes what no rule keeps, in two phases with days between them: it is marked, and then deleted.

    A target that is away, or that has a lock on something, waits for the next prune.
    """

    first = RunStep(StepKind.PLAN)
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(plan_prune, ToPrune, Pool.CONTROL),
        StepKind.MARK: StepAction(mark, Marked, Pool.PRUNE, tolerated=True, where=Where.THREAD),
        StepKind.DELETE: StepAction(delete, Deleted, Pool.PRUNE, tolerated=True, where=Where.THREAD),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        if isinstance(result, ToPrune):
            return StepConsequence(follow=tuple(_work(result)) or (REPORT,))
        return (
            StepConsequence()
            if any(tally.unsettled(kind) for kind in WORK)
            else StepConsequence(follow=(REPORT,))
        )

    def record(self, run: Run, services: Services) -> Sequence[str]:
        """Forget replicas that another host deleted, and return the targets that were seen to the end."""
        forget_deleted(services.store, services.targets.values(), trusted=services.signer_fingerprints)
        return [row.step.target for row in services.store.rows(run.id, StepKind.DELETE) if is_done(row)]

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "what is kept is untouched; what was to go may still be there"

    def outcome(self, run: Run, services: Services) -> Ending:
        """Say what is left that should be gone by now. What a lock keeps for some time is left by intent, and
        a medium lies in a safe."""
        facts = read_facts(run, ToPrune)
        rows = [row for kind in WORK for row in services.store.rows(run.id, kind)]
        away = facts.away.keys() - media(services)
        wrong = [f"{name} was not looked at: {facts.away[name]}" for name in sorted(away)]
        wrong += [why for row in rows for why in _wrong(run, row)]
        return Ending(RunState.DEGRADED, "; ".join(wrong)) if wrong else Ending(RunState.DONE)

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        return prune_spec(services)


JOB = PruneJob()


def _work(facts: ToPrune) -> Iterator[RunStep]:
    for kind, lists in ((StepKind.MARK, (*facts.mark, *facts.undelete)), (StepKind.DELETE, facts.delete)):
        targets = dict.fromkeys(name for backup in lists for name in backup.targets if name in facts.before)
        yield from (RunStep(kind, target=name) for name in targets)


def is_done(row: StepRow) -> bool:
    return row.state is StepState.DONE


def _wrong(run: Run, row: StepRow) -> Iterator[str]:
    """Yield what a step could not do."""
    if not is_done(row):
        yield f"{row.step.kind} on {row.step.target} failed: {row.error}"
    elif row.step.kind is StepKind.MARK:
        failed = read_result(run, row.step, row.result, Marked).failed
        if failed:
            first = next(iter(failed.values()))
            yield f"{plural(len(failed), 'backup')} could not be marked on {row.step.target}: {first}"
    else:
        left = [
            undeleted_backup
            for undeleted_backup in read_result(run, row.step, row.result, Deleted).left.values()
            if not undeleted_backup.until
        ]
        if left:
            yield f"{plural(len(left), 'backup')} could not be deleted from {row.step.target}: {left[0].why}"


def marked_by(run: Run, services: Services) -> dict[str, Marked]:
    """Return what a run marked, by target."""
    return _results(run, services, StepKind.MARK, Marked)


def results_of(run: Run, services: Services) -> dict[str, Deleted]:
    """Return what a run deleted, by target."""
    return _results(run, services, StepKind.DELETE, Deleted)


def _results(run: Run, services: Services, kind: StepKind, record: type[R]) -> dict[str, R]:
    rows = [row for row in services.store.rows(run.id, kind) if is_done(row)]
    return {row.step.target: read_result(run, row.step, row.result, record) for row in rows}


def submit_prune(services: Services, *, policy: str = EVERY_POLICY) -> Submitted:
    """Create a run that marks and deletes what no rule keeps, of one policy or of all.

    Raises:
        ConfigError: there is no such policy.
    """
    known = services.retention()
    if policy not in (EVERY_POLICY, *known):
        raise ConfigError(f"there is no policy '{policy}'", hint=nearest(policy, known))
    return submit(services, prune_spec(services, policy=policy))


def prune_spec(services: Services, *, policy: str = EVERY_POLICY) -> Spec:
    """Return the run that prunes the backups of one policy, or of all, on every target."""
    pins = tuple(pin_target(name, target) for name, target in services.targets.items())
    return Spec(kind=RunKind.PRUNE, policy=policy, targets=pins)
