"""The drill as a job: drill-restore → drill-compare → drill-teardown → report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from strongroom.operations.backup.existing import newest, newest_if_any, spec_about
from strongroom.operations.recovery_objective import objective_missed
from strongroom.operations.rehearsal import drill
from strongroom.operations.runs.job import Action, Ending, Job, Result, read_facts
from strongroom.operations.runs.submit import Submitted, submit
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunKind, RunState, Spec, Step, StepKind, Tally, Verdict

_FOLLOWING = {
    StepKind.DRILL_RESTORE: Step(StepKind.DRILL_COMPARE),
    StepKind.DRILL_COMPARE: Step(StepKind.DRILL_TEARDOWN),
    StepKind.DRILL_TEARDOWN: Step(StepKind.REPORT),
}


class DrillJob(Job):
    """Rehearses the recovery of a policy's newest backup, and times it."""

    first = Step(StepKind.DRILL_RESTORE)
    actions: ClassVar[Mapping[StepKind, Action[Any]]] = {
        StepKind.DRILL_RESTORE: Action(drill.restore, drill.Rehearsed),
        StepKind.DRILL_COMPARE: Action(drill.compare, drill.Compared),
        StepKind.DRILL_TEARDOWN: Action(drill.teardown, drill.TornDown),
    }

    def decide(self, run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
        return Verdict(facts={step.kind.value: msgspec.to_builtins(result)}, follow=(_FOLLOWING[step.kind],))

    def outcome(self, run: Run, services: Services) -> Ending:
        """Hold a drill that brought everything back to its objective."""
        facts = read_facts(run, drill.DrillFacts)
        if facts.drill_restore is None or facts.drill_compare is None:
            raise RecordRefused(f"run {run.id} does not record what its drill brought back")
        took = drill.took_seconds(run)
        objective = run.spec.options["objective_seconds"]
        late = objective_missed(
            took, least=drill.least_seconds(facts.drill_restore, services), objective=objective
        )
        return (
            Ending(RunState.DEGRADED, f"everything came back, but {late}") if late else Ending(RunState.DONE)
        )

    def sweep(self, run: Run, services: Services) -> dict[str, str]:
        drill.remove_scratch(run, services)
        return {}

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the drill that a slot runs; nothing for a policy that has no backup yet."""
        if newest_if_any(services, entry.policy) is None:
            return None
        return _spec(services, entry.policy, entry.options["objective_seconds"])


JOB = DrillJob()


def submit_drill(
    services: Services, *, policy: str, objective_seconds: float, request_id: str | None = None
) -> Submitted:
    """Create a drill of a policy's newest backup."""
    return submit(services, _spec(services, policy, objective_seconds), request_id=request_id)


def _spec(services: Services, policy: str, objective_seconds: float) -> Spec:
    options = {"objective_seconds": objective_seconds}
    return spec_about(services, RunKind.DRILL, newest(services, policy), options=options)
