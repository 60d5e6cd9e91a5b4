"""A check of the calendar as a job: check → report. Its result is on record like that of any other run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from msgspec import Struct

from strongroom.errors import ConfigError
from strongroom.operations.engine import run_log
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.jobs import Ending, Job, Result, StepAction, read_facts, to_facts
from strongroom.operations.engine.services import CheckResult, Services
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
from strongroom.words import name_first_few, plural

AGAIN: Final = "again"
"""The option of an entry that comes again each day as long as its newest check found something."""
NEEDS_BACKUP: Final = "needs_backup"


class CheckFacts(Struct, frozen=True, kw_only=True):
    """What a run of a check records."""

    checked: CheckResult = CheckResult()


def perform(run: Run, step: RunStep, services: Services) -> CheckResult:
    """Do a check. Raises whatever kept it from looking."""
    name = str(run.spec.options.get("check"))
    if name not in services.checks:
        raise ConfigError(f"there is no check '{name}'", hint="Run the same version on every host.")
    return services.checks[name](services)


class CheckJob(Job):
    """Does one check. What it finds degrades the run; one that could not look has failed."""

    first = RunStep(StepKind.CHECK)
    subject = "check"
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.CHECK: StepAction(perform, CheckResult, Pool.VERIFY)
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        assert isinstance(result, CheckResult)
        return StepConsequence(facts=to_facts(CheckFacts(checked=result)), follow=(RunStep(StepKind.REPORT),))

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "nothing was changed, and nothing is known of what it was to look at"

    def outcome(self, run: Run, services: Services) -> Ending:
        checked = read_facts(run, CheckFacts).checked
        if not checked.bad:
            return Ending(RunState.DONE)
        found = f"it found {plural(len(checked.bad), 'thing')} wrong: {name_first_few(checked.bad)}"
        return Ending(RunState.DEGRADED, run_log.joined(found, checked.do))

    def scheduled_entries(self, entry: Scheduled, services: Services) -> Iterator[Scheduled]:
        yield entry
        if AGAIN in entry.options:
            yield entry.about(AGAIN, schedule=entry.options[AGAIN])

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the check of a slot. One that is going on is enough; the slot is taken when it has ended."""
        name = entry.options["check"]
        newest = next(iter(services.store.runs_of(name, RunKind.CHECK, limit=1)), None)
        if newest is not None and newest.state is RunState.ACTIVE:
            return None
        if entry.name.endswith(f" {AGAIN}") and not _is_due_again(newest, due):
            return None
        if not services.store.backups(limit=1) and (entry.options.get(NEEDS_BACKUP) or _is_begun(services)):
            return None
        return Spec(kind=RunKind.CHECK, policy=name, options={"check": name})


def _is_begun(services: Services) -> bool:
    """Tell whether the first backup is being made: without it a look only finds that it is missing."""
    return any(run.spec.kind is RunKind.BACKUP for run in services.store.active())


def _is_due_again(newest: Run | None, due: float) -> bool:
    return newest is not None and newest.state is not RunState.DONE and due > newest.created_at


JOB = CheckJob()
