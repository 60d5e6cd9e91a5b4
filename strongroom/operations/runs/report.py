"""report: the last step of every run. Sweeps what the run left, says what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from strongroom.model import prepare
from strongroom.operations import recorded_errors, run_integrity
from strongroom.operations.runs.hooks import call_after
from strongroom.operations.runs.job import Ending, Job, ReportFacts, is_signed, job_of
from strongroom.operations.runs.stage import sweep_stage
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunState, RunStep, StepKind


class Report(Struct, frozen=True, kw_only=True):
    """How a run ended. ``good`` names the targets with a good replica, ``unswept`` the places that still hold
    what the run left, and why. The others are :class:`~strongroom.operations.runs.job.ReportFacts`."""

    state: RunState
    error: str | None
    good: Sequence[str]
    unswept: Mapping[str, str]
    kept: Sequence[str]
    swept: Sequence[str]
    fewer: int
    started: Sequence[str]


prepare(Report)


def report(run: Run, step: RunStep, services: Services) -> Report:
    """Clean up after the run and return its final state, with the reason if it is a bad one."""
    job = job_of(run.spec.kind)
    unswept = _sweep(run, job, services)
    good, judged = _judged(run, job, services)
    ending = _concluded(run, judged, job, services)
    more = _more(run, job, services)
    call_after(run, ending, services)
    return Report(
        state=ending.state,
        error=ending.error,
        good=sorted(good),
        unswept=unswept,
        kept=more.kept,
        swept=more.swept,
        fewer=more.fewer,
        started=more.started,
    )


def _judged(run: Run, job: Job, services: Services) -> tuple[Sequence[str], Ending]:
    """Return the targets with a good replica, and how the run ends. A record that does not fit fails it."""
    refused = run_integrity.refusal(run, services, signed=is_signed(job))
    try:
        good = job.record(run, services) if refused is None else ()
        return good, _early_ending(run) or _refused(run, refused, services) or job.outcome(run, services)
    except RecordRefused as error:
        return (), _early_ending(run) or _refusal(run, error, services)


def _concluded(run: Run, ending: Ending, job: Job, services: Services) -> Ending:
    try:
        return job.conclude(run, ending, services)
    except RecordRefused as error:
        return ending if ending.state is RunState.FAILED else _refusal(run, error, services)


def _more(run: Run, job: Job, services: Services) -> ReportFacts:
    try:
        return job.report_facts(run, services)
    except RecordRefused:  # it is what the run fails of already
        return ReportFacts()


def _early_ending(run: Run) -> Ending | None:
    """Return how a run ends that failed or was cancelled before."""
    ending = run.facts.get("ending")
    return None if ending is None else Ending(RunState(ending), run.facts.get("error"))


def _refused(run: Run, refused: RecordRefused | None, services: Services) -> Ending | None:
    return None if refused is None else _refusal(run, refused, services)


def _refusal(run: Run, refused: RecordRefused, services: Services) -> Ending:
    """Record a refusal where the alerts look for it; the run fails of it."""
    error = f"{refused.code}: {recorded_errors.error_text(refused)}"
    services.store.event("step.failed", run.id, step=StepKind.REPORT.value, error=error)
    return Ending(RunState.FAILED, error)


def _sweep(run: Run, job: Job, services: Services) -> dict[str, str]:
    """Remove leftovers; return the places that still hold some, and why."""
    unswept = job.sweep(run, services)
    return unswept if sweep_stage(run, services) else {**unswept, "stage": "it could not be emptied"}
