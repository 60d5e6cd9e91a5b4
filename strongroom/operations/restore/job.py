"""The restore as a job: restore → report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from strongroom.model import Selection, prepare
from strongroom.operations.backup.existing import spec_about
from strongroom.operations.backup.outcome import describe_aside
from strongroom.operations.restore.step import RestoreOptions, RunRestored, restore_step
from strongroom.operations.runs.job import Action, Ending, Job, Result, read_facts, to_facts
from strongroom.operations.runs.submit import Submitted, submit
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunKind, RunState, Step, StepKind, Tally, Verdict
from strongroom.words import plural


class RestoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a restore."""

    restore: RunRestored


prepare(RestoreFacts)


class RestoreJob(Job):
    """Restores a backup into a configured destination."""

    first = Step(StepKind.RESTORE)
    actions: ClassVar[Mapping[StepKind, Action[Any]]] = {StepKind.RESTORE: Action(restore_step, RunRestored)}

    def decide(self, run: Run, tally: Tally, step: Step, result: Result) -> Verdict:
        assert isinstance(result, RunRestored)
        return Verdict(facts=to_facts(RestoreFacts(restore=result)), follow=(Step(StepKind.REPORT),))

    def outcome(self, run: Run, services: Services) -> Ending:
        """Hold a restore to what it was asked for: what differs afterwards, or is not there, is told."""
        done = read_facts(run, RestoreFacts).restore
        shortfalls = []
        if done.not_done:
            by = ", ".join(f"{count:,} {code}" for code, count in done.not_done_by.items())
            shortfalls.append(f"{plural(done.not_done, 'secret')} could not be restored ({by})")
        if done.left:
            shortfalls.append(
                f"{plural(done.left, 'secret')} differ from the backup and were left as they are"
            )
        if shortfalls:
            shortfalls.append(f"each is named in {done.record}")
        if aside := describe_aside([("", done.aside)]):
            shortfalls.append(f"restored, but {aside}")
        return Ending(RunState.DEGRADED, "; ".join(shortfalls)) if shortfalls else Ending(RunState.DONE)


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
