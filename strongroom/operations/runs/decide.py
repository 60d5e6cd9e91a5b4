"""What comes next: pure decisions, called inside the transaction that records an outcome."""

from __future__ import annotations

from strongroom.operations.runs.job import Result, job_of
from strongroom.state.records import Run, RunState, Step, StepKind, StepState, Tally, Verdict

REPORT = Step(StepKind.REPORT)


def exhausted(run: Run, step: Step) -> StepState:
    """Say what becomes of a step that was started too often without an outcome."""
    return StepState.MISSED if is_tolerated(run, step) else StepState.POISONED


def is_tolerated(run: Run, step: Step) -> bool:
    """Tell whether a run can do without a step."""
    action = job_of(run.spec.kind).actions.get(step.kind)
    return action is not None and action.tolerated


def decide_given_up(run: Run, tally: Tally, step: Step) -> Verdict:
    """Decide after a step was given up that the run can do without (MISSED)."""
    return decide(run, tally, step, {})


def decide(run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
    """Decide what follows from a recorded outcome."""
    if step.kind is StepKind.REPORT:
        return Verdict(state=RunState(result["state"]), error=result["error"], facts={"report": dict(result)})
    return job_of(run.spec.kind).decide(run, tally, step, result)
