"""A recovery as a job: a restore that first looks at the worker's host, and validates what came back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from strongroom.container.errors import MissingPiece
from strongroom.model import ListedSecret, prepare
from strongroom.operations.backup.verify import restorable, spec_about
from strongroom.operations.checks import live
from strongroom.operations.checks.backups import destination
from strongroom.operations.drills.facts import Proved
from strongroom.operations.drills.steps import of_host, proved
from strongroom.operations.engine.findings import Finding
from strongroom.operations.engine.jobs import Ending, Result, RunAccount, StepAction, read_facts
from strongroom.operations.engine.services import Services, openers
from strongroom.operations.engine.submit import Submitted, submit
from strongroom.operations.restore.job import PASSING, REPORT, RestoreJob, restore_account
from strongroom.operations.restore.staged import (
    FixedBackup,
    RestoreComparison,
    RestoreFacts,
    RestoreOptions,
    options_of,
)
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    Pool,
    Run,
    RunKind,
    RunState,
    RunStep,
    StepConsequence,
    StepKind,
    StepRow,
    Tally,
)
from strongroom.words import name_first_few, plural

# -- What a recovery run does besides a restore: a look at the host, and at each secret that came back


class RunValidated(Struct, frozen=True, kw_only=True):
    """How many secrets were looked at by themselves, and what stood out: counts by check, and no name."""

    secrets: int
    wrong: Mapping[str, int] = {}
    remarks: Mapping[str, int] = {}


class RecoveryFacts(RestoreFacts, frozen=True, kw_only=True):
    """What is known of a recovery run."""

    recovery_check: Proved | None = None
    recovery_validate: RunValidated | None = None


prepare(RunValidated, RecoveryFacts)


def recovery_facts_of(run: Run) -> RecoveryFacts:
    """Return what is known of a recovery run."""
    return read_facts(run, RecoveryFacts)


def check_environment(run: Run, step: RunStep, services: Services) -> Proved:
    """Look whether this host may recover, and whether the destination lets itself be written to."""
    return proved(_findings(run, services))


def _findings(run: Run, services: Services) -> Iterator[Finding]:
    entry = services.store.backup(run.spec.backup)
    made = {} if entry is None else {entry.backup: entry.created_at}
    yield from of_host(partial(openers, run.spec, services), made=made)
    yield from destination(services.destination(options_of(run).destination))


def validate_restored(run: Run, step: RunStep, services: Services) -> RunValidated:
    """Look at each secret that came back by itself: whether it is there, holds, and is what it says it is."""
    there = services.destination(options_of(run).destination)
    found = live.values(there, _restored(run, services), now=datetime.now(UTC))
    wrong = Counter(
        finding.check for finding in found.findings if finding.wrong and finding.check in live.OTHERWISE
    )
    remarks = Counter(
        finding.check for finding in found.findings if not (finding.wrong and finding.check in live.OTHERWISE)
    )
    return RunValidated(secrets=found.secrets, wrong=wrong, remarks=remarks)


def _restored(run: Run, services: Services) -> Iterator[ListedSecret]:
    work, relocation = services.restoring(run, services), options_of(run).relocation
    names = (secret.name for secret in work.secrets(work.open()))
    return (ListedSecret(relocation.there(name), 0) for name in names if relocation.covers(name))


# -- A recovery as a job: a restore that first looks at the worker's host, and validates what came back
#
# plan → recovery check → restore plan → approve → restore × pieces, wave by wave → compare → validate →
# report. It is what a recovery needs no person for: ``strongroom recover --cluster`` follows it.


class RecoveryJob(RestoreJob):
    """Recovers a backup into a configured destination. Nothing is read of it on a host that is not fit."""

    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        **RestoreJob.actions,
        StepKind.RECOVERY_CHECK: StepAction(check_environment, Proved, Pool.RECOVER, waits_for=PASSING),
        StepKind.RECOVERY_VALIDATE: StepAction(
            validate_restored, RunValidated, Pool.RECOVER, waits_for=PASSING
        ),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        match result:
            case FixedBackup():
                return StepConsequence(follow=(RunStep(StepKind.RECOVERY_CHECK),))
            case Proved():
                facts = {"recovery_check": msgspec.to_builtins(result)}
                return StepConsequence(
                    facts=facts, follow=(REPORT if result.wrong else RunStep(StepKind.RESTORE_PLAN),)
                )
            case RestoreComparison():
                facts = {"restore_compare": msgspec.to_builtins(result)}
                return StepConsequence(facts=facts, follow=(RunStep(StepKind.RECOVERY_VALIDATE),))
            case RunValidated():
                facts = {"recovery_validate": msgspec.to_builtins(result)}
                return StepConsequence(facts=facts, follow=(REPORT,))
            case _:
                return super().decide(run, tally, step, result)

    def account(self, run: Run, rows: Sequence[StepRow]) -> RunAccount:
        facts = recovery_facts_of(run)
        shown = {"recovery_check": facts.recovery_check, "recovery_validate": facts.recovery_validate}
        restored = restore_account(run, rows, facts, shown=shown)
        told = (*_host(facts.recovery_check), *restored.pairs, *_validated(facts.recovery_validate))
        return RunAccount(told, restored.document)

    def outcome(self, run: Run, services: Services) -> Ending:
        """Hold a recovery to what a restore is held to, and to what each secret shows by itself."""
        facts = recovery_facts_of(run)
        if facts.recovery_check is None:
            raise RecordRefused(f"run {run.id} does not record whether its worker was fit to recover")
        if wrong := facts.recovery_check.wrong:
            said = (
                f"{wrong.code}: the worker's host is not fit to recover, so nothing was written: {wrong.what}"
            )
            return Ending(RunState.FAILED, said)
        ending = super().outcome(run, services)
        if facts.recovery_validate is None:
            raise RecordRefused(f"run {run.id} does not record what its validation found")
        return _with(ending, facts.recovery_validate, run)


JOB = RecoveryJob()


def _host(check: Proved | None) -> Iterator[tuple[str, object]]:
    """Yield how the host of the worker stood, and what is wrong or worth a look there."""
    if check is None:
        return
    bad = [finding for finding in check.checks if finding.state != "good"]
    more = f", {len(bad)} not" if bad else ""
    yield "host", f"{plural(len(check.checks) - len(bad), 'check')} good{more}"
    yield from (
        ("", f"{finding.state}: {finding.check}: {finding.what}. {finding.to_do}".strip()) for finding in bad
    )


def _validated(validated: RunValidated | None) -> Iterator[tuple[str, object]]:
    if validated is None:
        return
    found = {"wrong": validated.wrong, "to look at": validated.remarks}
    counts = [f"{count:,} {what}: {check}" for what, by in found.items() for check, count in by.items()]
    told = "; ".join(counts) or "each is well by itself"
    yield "validated", f"{plural(validated.secrets, 'secret')}, {told}"


def _with(ending: Ending, validated: RunValidated, run: Run) -> Ending:
    """Add what the validation found wrong. It counts: 'validate' names each to whoever may know names."""
    if not validated.wrong:
        return ending
    found = name_first_few([f"{count:,} {check}" for check, count in validated.wrong.items()])
    into = run.spec.options.get("destination")
    said = (
        f"of {plural(validated.secrets, 'secret')} validated, some are wrong by themselves ({found}); "
        f"'strongroom check secrets --source {into}' names them"
    )
    return Ending(RunState.DEGRADED, "; ".join(filter(None, (ending.error, said))))


def submit_recovery(
    services: Services, *, backup: str, options: RestoreOptions, request_id: str | None = None
) -> Submitted:
    """Create a run that recovers a backup into a configured destination.

    Args:
        backup: a backup; or a policy, of which the newest is taken that may be restored from.

    Raises:
        MissingPiece: there is none.
    """
    given = msgspec.to_builtins(options)
    spec = spec_about(services, RunKind.RECOVERY, _located(services, backup), options=given)
    return submit(services, spec, request_id=request_id)


def _located(services: Services, name: str) -> str:
    if services.store.backup(name) is not None:
        return name
    newest = next(restorable(services, name), None)
    if newest is None:
        raise MissingPiece(
            f"the catalog has no backup '{name}', and none of a policy '{name}' to restore from",
            hint="See 'strongroom backups list'.",
        )
    return newest.backup
