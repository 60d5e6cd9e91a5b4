"""The comparison with the source as a job: plan → drift → freeze, after a mass change → report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from strongroom.operations.archive.live_comparison import describe_drift
from strongroom.operations.backup.existing import newest, newest_if_any, spec_about
from strongroom.operations.drift.comparison import Drift
from strongroom.operations.drift.freeze import Frozen
from strongroom.operations.drift.history import DriftBaseline, DriftFacts, facts_of, limits_of, plan
from strongroom.operations.drift.mass_change import MassChangeLimits, describe_mass_change, is_alarming
from strongroom.operations.drift.step import compare_with_source, freeze_retention
from strongroom.operations.errors import MassChange
from strongroom.operations.run_integrity import TERMS
from strongroom.operations.runs.job import Ending, Job, Result, RunAccount, StepAction
from strongroom.operations.runs.submit import Submitted, submit
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
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
    Tally,
)
from strongroom.words import plural

REPORT = RunStep(StepKind.REPORT)


class DriftJob(Job):
    """Compares a policy's newest backup with its source; after a mass change nothing of it is deleted.

    The verify workers compare: they have the source, the key of digests and what opens backups. The control
    workers sign the hold.
    """

    first = RunStep(StepKind.PLAN)
    opens = True
    reads = True
    terms = TERMS
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(plan, DriftBaseline, Pool.CONTROL),
        StepKind.DRIFT: StepAction(compare_with_source, Drift, Pool.VERIFY),
        StepKind.FREEZE: StepAction(freeze_retention, Frozen, Pool.CONTROL, tolerated=True),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        match result:
            case DriftBaseline():
                return StepConsequence(follow=(RunStep(StepKind.DRIFT),))
            case Drift():
                alarm = is_alarming(result, facts_of(run).accepted, limits_of(run))
                follow = RunStep(StepKind.FREEZE) if alarm else REPORT
                return StepConsequence(facts={"drift": msgspec.to_builtins(result)}, follow=(follow,))
            case Frozen():
                return StepConsequence(facts={"frozen": msgspec.to_builtins(result)}, follow=(REPORT,))
            case _:
                return StepConsequence(follow=(REPORT,))

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "no backup was touched; nobody knows how far the source has drifted"

    def account(self, run: Run, rows: Sequence[StepRow]) -> RunAccount:
        if (drift := facts_of(run).drift) is None:
            return RunAccount()
        moved = describe_drift(drift.newest.changed, drift.newest.missing, drift.extra)
        told = (("drift", moved or "none: the source is as the backup has it"),)
        return RunAccount(told, {"drift": msgspec.to_builtins(drift)})

    def outcome(self, run: Run, services: Services) -> Ending:
        """Say what has drifted. That a source changes is no fault; that nobody knows how much, is one."""
        facts = facts_of(run)
        if facts.drift is None:
            raise RecordRefused(f"run {run.id} does not record what it compared")
        drift, limits = facts.drift, limits_of(run)
        if is_alarming(drift, facts.accepted, limits):
            what = f"{MassChange.__name__}: {describe_mass_change(drift)}{_describe_lacking(facts)}"
            return Ending(RunState.DEGRADED, what)
        if drift.newest.unread:
            count = plural(drift.newest.unread, "secret")
            return Ending(RunState.DEGRADED, f"compared, but the source did not give {count} that it has")
        if facts.since and drift.since.backup != facts.since:
            words = f"compared, but backup {facts.since}, which it was to be judged by, could not be used"
            return Ending(RunState.DEGRADED, words)
        return Ending(RunState.DONE)

    def scheduled_entries(self, entry: Scheduled, services: Services) -> Iterable[Scheduled]:
        """Return an entry for each policy."""
        return (entry.about(name, policy=name) for name in entry.options["policies"])

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the comparison of a policy; nothing for one that has no backup yet."""
        if newest_if_any(services, entry.policy) is None:
            return None
        return _spec(services, entry.policy, msgspec.convert(entry.options, MassChangeLimits))


def _describe_lacking(facts: DriftFacts) -> str:
    """Say where the hold is not, or that there is none."""
    if facts.frozen is None:
        return "; no hold could be placed, so deletion is not frozen"
    return f"; the hold is not on {', '.join(sorted(facts.frozen.unmarked))}" if facts.frozen.unmarked else ""


JOB = DriftJob()


def submit_drift(
    services: Services, *, policy: str, limits: MassChangeLimits | None = None, request_id: str | None = None
) -> Submitted:
    """Create a run that compares a policy's newest backup with its source."""
    return submit(services, _spec(services, policy, limits or MassChangeLimits()), request_id=request_id)


def _spec(services: Services, policy: str, limits: MassChangeLimits) -> Spec:
    backup = newest(services, policy)
    return spec_about(services, RunKind.DRIFT, backup, options=msgspec.to_builtins(limits))
