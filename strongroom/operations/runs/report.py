"""report: the last step of every run. Sweeps what the run left, says what came of it."""

from __future__ import annotations

from typing import Any

from strongroom.operations import policy_pins, recorded_errors
from strongroom.operations.runs.job import Ending, Job, is_signed, job_of
from strongroom.operations.runs.stage import sweep_stage
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunState, Step, StepKind


def report(run: Run, step: Step, services: Services) -> dict[str, Any]:
    """Clean up after the run and return its final state, with the reason if it is a bad one."""
    job = job_of(run.spec.kind)
    unswept = _sweep(run, job, services)
    refused = policy_pins.refusal(run, services, signed=is_signed(job))
    good = job.record(run, services) if refused is None else ()
    ending = _early_ending(run) or _refused(run, refused, services) or job.outcome(run, services)
    more = job.report_facts(run, services)
    return {
        "state": ending.state.value,
        "error": ending.error,
        "good": sorted(good),
        "unswept": unswept,
        "kept": list(more.kept),
        "swept": list(more.swept),
        "fewer": more.fewer,
    }


def _early_ending(run: Run) -> Ending | None:
    """Return how a run ends that failed or was cancelled before."""
    ending = run.facts.get("ending")
    return None if ending is None else Ending(RunState(ending), run.facts.get("error"))


def _refused(run: Run, refused: RecordRefused | None, services: Services) -> Ending | None:
    """Record a refusal where the alerts look for it; the run fails of it."""
    if refused is None:
        return None
    error = f"{refused.code}: {recorded_errors.error_text(refused)}"
    services.store.event("step.failed", run.id, step=StepKind.REPORT.value, error=error)
    return Ending(RunState.FAILED, error)


def _sweep(run: Run, job: Job, services: Services) -> dict[str, str]:
    """Remove leftovers; return the places that still hold some, and why."""
    unswept = job.sweep(run, services)
    return unswept if sweep_stage(run, services) else {**unswept, "stage": "it could not be emptied"}
