"""The restore as a job: restore → report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from strongroom.model import Selection
from strongroom.operations.backup.existing import spec_about
from strongroom.operations.restore.step import RestoreOptions, restore_step
from strongroom.operations.runs.aside import said_aside
from strongroom.operations.runs.job import Action, Ending, Job, Result
from strongroom.operations.runs.submit import Submitted, submit
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunKind, RunState, Step, StepKind, Tally, Verdict
from strongroom.words import plural


class RestoreJob(Job):
    """Restores a backup into a configured destination."""

    first = Step(StepKind.RESTORE)
    actions: ClassVar[Mapping[StepKind, Action]] = {StepKind.RESTORE: Action(restore_step)}

    def decide(self, run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
        return Verdict(facts={"restore": dict(result)}, follow=(Step(StepKind.REPORT),))

    def outcome(self, run: Run, services: Services) -> Ending:
        """Hold a restore to what it was asked for: what differs afterwards, or is not there, is told."""
        done = run.facts[StepKind.RESTORE]
        said = []
        if done["not_done"]:
            by = ", ".join(f"{count:,} {code}" for code, count in done["not_done_by"].items())
            said.append(f"{plural(done['not_done'], 'secret')} could not be restored ({by})")
        if done["left"]:
            said.append(f"{plural(done['left'], 'secret')} differ from the backup and were left as they are")
        if said:
            said.append(f"each is named in {done['record']}")
        if aside := said_aside(run, services, StepKind.RESTORE):
            said.append(f"restored, but {aside}")
        return Ending(RunState.DEGRADED, "; ".join(said)) if said else Ending(RunState.DONE)


JOB = RestoreJob()


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
