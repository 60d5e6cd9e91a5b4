"""What comes next: pure decisions, called inside the transaction that records an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from strongroom.operations import recorded_errors
from strongroom.operations.runs.job import Result, action_of, job_of, read_result
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunState, RunStep, StepConsequence, StepKind, StepState, Tally


def exhausted(run: Run, step: RunStep) -> StepState:
    """Say what becomes of a step that was started too often without an outcome."""
    return StepState.MISSED if is_tolerated(run, step) else StepState.POISONED


def is_tolerated(run: Run, step: RunStep) -> bool:
    """Tell whether a run can do without a step."""
    action = job_of(run.spec.kind).actions.get(step.kind)
    return action is not None and action.tolerated


def decide_given_up(run: Run, tally: Tally, step: RunStep) -> StepConsequence:
    """Decide after a step was given up that the run can do without (MISSED)."""
    return decide(run, tally, step, {})


def decide(run: Run, tally: Tally, step: RunStep, result: Mapping[str, Any]) -> StepConsequence:
    """Decide what follows from a recorded outcome.

    A record that does not fit ends the run. It is not raised: that would undo the transaction each time,
    and the run would never end.
    """
    if step.kind is StepKind.REPORT:
        return StepConsequence(
            state=RunState(result["state"]), error=result["error"], facts={"report": dict(result)}
        )
    if step.kind is StepKind.HOOK:
        return StepConsequence(follow=(job_of(run.spec.kind).first,))
    try:
        verdict = job_of(run.spec.kind).decide(run, tally, step, _typed(run, step, result))
    except RecordRefused as error:
        return StepConsequence(
            state=RunState.FAILED, error=f"{error.code}: {recorded_errors.error_text(error)}"
        )
    return structs.replace(verdict, facts=result) if step.kind is StepKind.PLAN else verdict


def _typed(run: Run, step: RunStep, result: Mapping[str, Any]) -> Result:
    action = action_of(run, step)
    return None if action.tolerated and not result else read_result(run, step, result, action.result)
