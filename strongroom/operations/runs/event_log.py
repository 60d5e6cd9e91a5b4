"""Logs what became of steps and runs: a fixed name for each event, and fields that identify it.

One line for each run that ended, at the level it deserves. A run that fails is told by the process that
decided it, with the exception, so that an error tracker has its stack. A command line shows none of this:
it has its own words. What went wrong is told by its class: its words may name a secret, and logs go far.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from strongroom.errors import StrongroomError, name_of
from strongroom.operations import recorded_errors
from strongroom.operations.errors import RunFailed
from strongroom.state.records import Run, RunState, RunStep, StepConsequence, StepKind, StepRow, StepState

if TYPE_CHECKING:
    from strongroom.state.store import RunStore

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

REPORT = StepKind.REPORT.value


def begun(run: Run, *, slot: str = "") -> None:
    """Tell of a run that was put on record: for which entry of the calendar, or since somebody asked."""
    log.info("run-begun", extra=_run_fields(run, "", "") | {"slot": slot})


def attempt_failed(run: Run, step: RunStep, error: Exception, *, again: bool) -> None:
    """Tell of a failed attempt; ``again``: the step will be tried once more."""
    unexpected = not isinstance(error, StrongroomError)
    fields = _run_fields(run, str(step), name_of(error)) | {"again": again}
    if not unexpected:
        log.warning("step-failed", extra=fields)
    else:  # of a run that fails it is told once, when that is
        level = logging.WARNING if again or run.closing or _is_cause(run, step) else logging.ERROR
        log.log(level, "step-crashed", exc_info=error, extra=fields)


def recorded(
    run: Run,
    step: RunStep,
    store: RunStore,
    *,
    verdict: StepConsequence | None = None,
    error: Exception | None = None,
) -> None:
    """Log what became of the run by a recorded outcome, if anything did.

    Args:
        run: the run as it is after the outcome was recorded.
        verdict: what was decided on it; ``None`` if nothing was.
        error: what the step failed of.
    """
    by_verdict = verdict is not None and verdict.state is RunState.FAILED
    if by_verdict or (verdict is None and error is not None and _is_cause(run, step)):
        failed(run, str(step), None if by_verdict else error)
    elif run.state.final:
        _tell_ended(run, store)


def failed(run: Run, step: str, error: Exception | None = None) -> None:
    """Log that a run fails, and why. The process that decided it calls this, once a run."""
    error = error or _raise_recorded(run)
    log.error("run-failed", exc_info=error, extra=_run_fields(run, step, name_of(error)))


def failed_unattended(run: Run) -> None:
    """Tell that a run fails since its workers died or nothing was left to do."""
    step, _, _ = (run.error or "").partition(": ")
    kinds = {kind.value for kind in StepKind}
    failed(run, step if step.partition("/")[0] in kinds else REPORT)


def _is_cause(run: Run, step: RunStep) -> bool:
    """Tell whether it is this step that the run fails of."""
    return (run.closing or run.state is RunState.FAILED) and (run.error or "").startswith(f"{step}: ")


def _tell_ended(run: Run, store: RunStore) -> None:
    fields = _run_fields(run, REPORT, "") | {"seconds": round((run.finished_at or 0.0) - run.created_at, 3)}
    if run.state is RunState.DEGRADED:
        log.warning("run-degraded", extra=fields | _missed_step_fields(run, store))
    else:  # that a run fails was told when it was decided
        log.info("run-ended" if run.state is RunState.FAILED else f"run-{run.state.value}", extra=fields)


def _missed_step_fields(run: Run, store: RunStore) -> dict[str, Any]:
    """Return the fields of the first step that a degraded run gave up, if it gave one up."""
    rows = store.rows(run.id)
    row: StepRow | None = next((row for row in rows if row.state is StepState.MISSED and row.error), None)
    if row is None:
        return {"error_class": "RunDegraded"}
    return _run_fields(run, str(row.step), recorded_errors.code_of(row.error or "") or "RunDegraded")


def _run_fields(run: Run, step: str, error_class: str) -> dict[str, Any]:
    kind, *rest = step.split("/")
    piece = next((part for part in rest if part.isdecimal()), None)
    return {
        "run": run.id,
        "policy": run.spec.policy,
        "kind": run.spec.kind.value,
        "step": kind,
        "target": next((part for part in rest if part != piece), ""),
        "error_class": error_class,
    } | ({"piece": int(piece)} if piece is not None else {})


def _raise_recorded(run: Run) -> Exception:
    """Return an error for a failure that raised none, with this place as its origin."""
    try:
        raise recorded_errors.parse_error(run.error) or RunFailed(
            recorded_errors.apart(run.error)[0] or "it failed"
        )
    except StrongroomError as error:
        return error
