"""The comparison with the source as a job; after a mass change retention is frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from strongroom.container.cobblestone import value_digester
from strongroom.container.errors import DAMAGE, WrongKey
from strongroom.errors import ConfigError
from strongroom.model import prepare
from strongroom.operations.archive import holds
from strongroom.operations.archive.live_comparison import describe_drift
from strongroom.operations.backup.verify import newest, newest_if_any, spec_about
from strongroom.operations.checks.drift import (
    Drift,
    MassChangeLimits,
    compare,
    describe_mass_change,
    is_alarming,
    is_mass_change,
)
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.integrity import TERMS
from strongroom.operations.engine.jobs import Ending, Job, Result, RunAccount, StepAction, read_facts
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import BackupQuarantined, BackupShredded, MassChange
from strongroom.operations.restore.by_record import open_anywhere
from strongroom.state.errors import RecordRefused
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
from strongroom.words import plural

# -- The hold that stops deletion after a mass change, until a person has looked ----------------


_BY = "drift run "


class Frozen(Struct, frozen=True, kw_only=True):
    """Whether such a run placed the hold that is in force, or a person did for a reason of their own.
    ``unmarked`` says on which targets it could not be written, and why."""

    ours: bool
    unmarked: Mapping[str, str] = {}


prepare(Frozen)


def freeze(run: Run, services: Services, *, reason: str) -> Frozen:
    """Have nothing of a policy deleted any more. A hold that stands without an end is enough."""
    policy = run.spec.policy
    found = holds.said_last(services, "policy", policy)
    if found is not None and found.state == "held" and not found.until:
        return Frozen(ours=found.by.startswith(_BY))
    unmarked = holds.hold(services, "policy", policy, reason=reason, by=f"{_BY}{run.id}")
    return Frozen(ours=True, unmarked=unmarked)


def was_released(services: Services, policy: str) -> bool:
    """Tell whether somebody released the newest hold on a policy: not whether it is merely gone."""
    found = holds.said_last(services, "policy", policy)
    return found is not None and found.state == "released"


# -- What earlier comparisons of a policy leave to the next: the backup to judge by, and what was accepted


TURNS = 20
"""Runs that are looked through for the newest that compared anything."""


class DriftBaseline(Struct, frozen=True, kw_only=True):
    """``since`` is the backup that a mass change is judged by, empty for the newest. ``accepted`` is the
    sample of the mass change that a person released the hold for."""

    since: str = ""
    accepted: tuple[int, ...] = ()


class DriftFacts(DriftBaseline, frozen=True, kw_only=True):
    """What is known of a comparison, from step to step."""

    drift: Drift | None = None
    frozen: Frozen | None = None


prepare(DriftBaseline, DriftFacts)


def plan(run: Run, step: RunStep, services: Services) -> DriftBaseline:
    """Go on from the newest comparison of the policy."""
    for earlier in services.store.runs_of(run.spec.policy, RunKind.DRIFT, limit=TURNS):
        with suppress(RecordRefused):  # a row that somebody edited keeps no other from being gone by
            facts = facts_of(earlier)
            if earlier.id != run.id and facts.drift is not None:
                return _following(facts, facts.drift, limits_of(earlier), run.spec.policy, services)
    return DriftBaseline()


def facts_of(run: Run) -> DriftFacts:
    """Return what a run recorded."""
    return read_facts(run, DriftFacts)


def limits_of(run: Run) -> MassChangeLimits:
    """Return from when on a run takes a change for a mass change."""
    try:
        return msgspec.convert(run.spec.options, MassChangeLimits)
    except msgspec.ValidationError:
        raise RecordRefused(f"run {run.id} does not say what a mass change is") from None


def _following(
    facts: DriftFacts, drift: Drift, limits: MassChangeLimits, policy: str, services: Services
) -> DriftBaseline:
    """Judge by the same backup until the newest one is sound: like its source, and like the one before it.

    An alarm stays one until a person has released the hold that it placed. Only then is that change accepted.
    """
    since = drift.since.backup
    if is_alarming(drift, facts.accepted, limits):
        held = facts.frozen is not None and facts.frozen.ours
        return DriftBaseline(
            since=since, accepted=drift.sample if held and was_released(services, policy) else ()
        )
    if is_mass_change(drift.newest, limits):
        return DriftBaseline(since=since, accepted=facts.accepted)
    return DriftBaseline(since=drift.newest.backup)


# -- The steps of a comparison with the source --------------------------------------------------


_UNUSABLE = (*DAMAGE, WrongKey, BackupQuarantined, BackupShredded, ConfigError)
"""What keeps an earlier backup from being judged by."""


def compare_with_source(run: Run, step: RunStep, services: Services) -> Drift:
    """Compare the run's backup, and the one that a mass change is judged by, with their source.

    Raises:
        SourceError: the source did not answer.
        NothingOpens, WrongKey: this host does not open the backup.
        ConfigError: the policy names another source by now, or the digests are not of this installation.
    """
    backup, policy = open_anywhere(run, services), services.pinned(run.spec.policy).spec
    name = backup.manifest.source
    if name != policy.source:
        raise ConfigError(
            f"backup {run.spec.backup} was made of '{name}', and policy '{policy.policy}' names "
            f"'{policy.source}'",
            hint=f"Nothing was compared. Make a new backup: 'strongroom backup --policy {policy.policy}'.",
        )
    source, digest = services.source(name), value_digester(services.digest_key, name)
    since = facts_of(run).since
    if since not in ("", run.spec.backup):
        # The result names the backup that was judged by, and the report says if it is another.
        with suppress(*_UNUSABLE):
            earlier = open_anywhere(run, services, backup=since)
            return compare(backup, earlier, source, policy.selection, digest)
    return compare(backup, backup, source, policy.selection, digest)


def freeze_retention(run: Run, step: RunStep, services: Services) -> Frozen:
    """Have nothing of the policy deleted until a person has looked at what changed."""
    drift = facts_of(run).drift
    if drift is None:
        raise RecordRefused(f"run {run.id} does not record what it compared")
    return freeze(run, services, reason=f"mass change: {describe_mass_change(drift)}")


# -- The comparison with the source as a job: plan → drift → freeze, after a mass change → report ---


REPORT = RunStep(StepKind.REPORT)


class DriftJob(Job):
    """Compares a policy's newest backup with its source; after a mass change nothing of it is deleted.

    The verify workers compare: they have the source, the key of digests and what opens backups. The control
    workers sign the hold.
    """

    first = RunStep(StepKind.PLAN)
    in_turn = True
    opens = True
    reads = True
    terms = TERMS
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(plan, DriftBaseline, Pool.CONTROL),
        StepKind.DRIFT: StepAction(compare_with_source, Drift, Pool.VERIFY),
        StepKind.FREEZE: StepAction(freeze_retention, Frozen, Pool.CONTROL, tolerated=True),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        match result:
            case DriftBaseline():
                return StepConsequence(follow=(RunStep(StepKind.DRIFT),))
            case Drift():
                alarm = is_alarming(result, facts_of(run).accepted, limits_of(run))
                follow = RunStep(StepKind.FREEZE) if alarm else REPORT
                return StepConsequence(facts={"drift": msgspec.to_builtins(result)}, follow=(follow,))
            case Frozen():
                return StepConsequence(facts={"frozen": msgspec.to_builtins(result)}, follow=(REPORT,))
            case _:
                return StepConsequence(follow=(REPORT,))

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "no backup was touched; nobody knows how far the source has drifted"

    def account(self, run: Run, rows: Sequence[StepRow]) -> RunAccount:
        if (drift := facts_of(run).drift) is None:
            return RunAccount()
        moved = describe_drift(drift.newest.changed, drift.newest.missing, drift.extra)
        told = (("drift", moved or "none: the source is as the backup has it"),)
        return RunAccount(told, {"drift": msgspec.to_builtins(drift)})

    def outcome(self, run: Run, services: Services) -> Ending:
        """Say what has drifted. That a source changes is no fault; that nobody knows how much, is one."""
        facts = facts_of(run)
        if facts.drift is None:
            raise RecordRefused(f"run {run.id} does not record what it compared")
        drift, limits = facts.drift, limits_of(run)
        if is_alarming(drift, facts.accepted, limits):
            what = f"{MassChange.__name__}: {describe_mass_change(drift)}{_describe_lacking(facts)}"
            return Ending(RunState.DEGRADED, what)
        if drift.newest.unread:
            count = plural(drift.newest.unread, "secret")
            return Ending(RunState.DEGRADED, f"compared, but the source did not give {count} that it has")
        if facts.since and drift.since.backup != facts.since:
            words = f"compared, but backup {facts.since}, which it was to be judged by, could not be used"
            return Ending(RunState.DEGRADED, words)
        return Ending(RunState.DONE)

    def scheduled_entries(self, entry: Scheduled, services: Services) -> Iterable[Scheduled]:
        """Return an entry for each policy."""
        return (entry.about(name, policy=name) for name in entry.options["policies"])

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the comparison of a policy; nothing for one that has no backup yet."""
        if newest_if_any(services, entry.policy) is None:
            return None
        return drift_spec(services, entry.policy, msgspec.convert(entry.options, MassChangeLimits))


def _describe_lacking(facts: DriftFacts) -> str:
    """Say where the hold is not, or that there is none."""
    if facts.frozen is None:
        return "; no hold could be placed, so deletion is not frozen"
    return f"; the hold is not on {', '.join(sorted(facts.frozen.unmarked))}" if facts.frozen.unmarked else ""


JOB = DriftJob()


def drift_spec(services: Services, policy: str, limits: MassChangeLimits) -> Spec:
    """Return the run that compares a policy's newest backup with its source."""
    backup = newest(services, policy)
    return spec_about(services, RunKind.DRIFT, backup, options=msgspec.to_builtins(limits))
