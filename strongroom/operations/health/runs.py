"""What the record tells of runs, slots, drills, keys and media. Nothing on a target is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

from strongroom.durations import measured
from strongroom.keys.errors import KeyUnproven
from strongroom.operations import recorded_errors
from strongroom.operations.alerts import rules
from strongroom.operations.alerts.upkeep_rules import BEAT_RESTS, not_looked_at
from strongroom.operations.emergency.medium import State as Emergency
from strongroom.operations.emergency.medium import medium_status
from strongroom.operations.errors import BackupOverdue, MassChange, RunDegraded, RunFailed
from strongroom.operations.facts.freshness import is_idle, judge
from strongroom.operations.facts.records import Drilled, Facts, Limits, Ran
from strongroom.operations.facts.watched import ConfiguredPolicy
from strongroom.operations.findings import Finding, good, remark, wrong
from strongroom.operations.health.catalog import MONTH, fresh
from strongroom.operations.runs.abandoned import is_abandoned
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import RESTORING, ROTATING, Run, RunState, StepRow, StepState
from strongroom.timestamps import rfc3339
from strongroom.words import plural

RUNS, SLOTS, CHANGES, DRILLS, KEYS = "runs", "slots", "changes", "drills", "keys"
EMERGENCY = "emergency"
GRACE, LONGEST = 3600.0, 4 * 3600.0
"""How long a run may wait without news, and how long one step may take; in seconds."""
WITH_KEYS = frozenset({*RESTORING, *ROTATING})
"""The steps that are done where keys are at hand, which is not always."""
ENDED = (RunState.DONE, RunState.DEGRADED, RunState.FAILED)
AnyRan = TypeVar("AnyRan", bound=Ran)


# -- runs ----------------------------------------------------------------------


def runs(services: Services, facts: Facts, *, cluster: bool) -> Iterator[Finding]:
    """Say which runs do not move, and whose newest backup failed."""
    active = services.store.active()
    findings = [*_unmoving(services, active, facts.now, cluster=cluster), *_failed(services, facts)]
    yield from findings or [
        good(RUNS, f"{plural(len(active), 'run')} at work, none stuck, abandoned or failed")
    ]


def _unmoving(services: Services, active: Sequence[Run], now: float, *, cluster: bool) -> Iterator[Finding]:
    for run in active:
        about = f"{run.spec.kind} of '{run.spec.policy}', run {run.id}"
        hint = f"'strongroom retry {run.id}' goes on with it, 'strongroom cancel {run.id}' ends it."
        rows = services.store.rows(run.id)
        if not cluster and is_abandoned(run, services.store, services.state_dir):
            yield wrong(RUNS, RunFailed(f"{about}: abandoned, its process is gone", hint=hint))
        elif _waits_for_people(rows):
            words = f"{about}: waits for the keys: recover workers or custodians have them"
            yield remark(RUNS, words, "'strongroom up --with-recover', for as long as it takes.")
        elif now - _moved(run, rows) > (LONGEST if _worked_on(rows) else GRACE):
            words = f"{about}: stuck since {rfc3339(_moved(run, rows))}"
            yield wrong(RUNS, RunFailed(words, hint=f"See 'strongroom status {run.id}'. {hint}"))


def _waits_for_people(rows: Sequence[StepRow]) -> bool:
    """Tell whether a run waits for keys that people bring, and for nothing else."""
    kinds = {row.step.kind for row in rows if not row.state.settled}
    return bool(kinds) and kinds <= WITH_KEYS and not _worked_on(rows)


def _worked_on(rows: Iterable[StepRow]) -> bool:
    return any(row.state is StepState.RUNNING for row in rows)


def _moved(run: Run, rows: Iterable[StepRow]) -> float:
    """Return when a run was last seen to move."""
    return max(run.created_at, *(row.finished_at or row.started_at or 0.0 for row in rows), 0.0)


def _failed(services: Services, facts: Facts) -> Iterator[Finding]:
    """Say of which policies the newest backup or rotation failed: what failed before was made good."""
    for policy in facts.policies:
        for what, ran in (("backup", policy.runs), ("rotation", policy.rotations)):
            newest = _newest(ran)
            if newest is not None and newest.state is RunState.FAILED and not is_idle(policy):
                words = f"the newest {what} of '{policy.name}', run {newest.run}, failed: "
                failed = RunFailed(
                    words + _words(services, newest), hint=f"See 'strongroom status {newest.run}'."
                )
                yield wrong(RUNS, failed).on(policy=policy.name)


def _newest(runs: Iterable[AnyRan]) -> AnyRan | None:
    """Return the newest run that ended, and not by somebody's hand."""
    return next((ran for ran in runs if ran.state in ENDED), None)


def _words(services: Services, ran: Ran) -> str:
    """Return what a run said of its failure. Facts leave it out: it may name a secret."""
    return recorded_errors.apart(services.store.load(ran.run).error)[0]


# -- slots -----------------------------------------------------------


def freshness(facts: Facts, *, threshold: float) -> Iterator[Finding]:
    """Say of which policies a slot came and no backup that was read back was made since. Silence is an
    alarm, whoever should have broken it.

    Args:
        threshold: for so many seconds after its slot a backup may still be on its way.
    """
    if not any(policy.schedule for policy in facts.policies):
        yield remark(SLOTS, "no policy has a schedule: backups are made only when asked for")
    for policy in sorted(facts.policies, key=attrgetter("name")):
        # What waits for a medium, or for a secret that its filter matches, is told of by itself.
        if policy.schedule and not policy.offline and not is_idle(policy):
            yield fresh(SLOTS, judge(policy, threshold=threshold, now=facts.now)).on(policy=policy.name)


def beat(facts: Facts) -> Iterator[Finding]:
    """Say whether beat asks for what is due: it does so every half minute."""
    age = facts.beat_age
    hint = "Start it: 'strongroom up', or its service."
    if age is None:
        yield remark(SLOTS, "beat was never seen: nothing is made by schedule", hint)
    elif age > BEAT_RESTS:
        words = f"beat was last seen {age:,.0f} s ago: it is stopped or hung"
        yield wrong(SLOTS, BackupOverdue(words, hint=hint))
    else:
        yield good(SLOTS, "beat asks for what is due")


def changes(facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Say where so much changed or vanished at once that somebody has to look, as the alerts do."""
    for alert in rules.judge(facts, limits):
        if alert.error is MassChange:
            yield wrong(CHANGES, MassChange(alert.what, hint=alert.do)).on(policy=alert.subject)


# -- drills, keys, the safe ------------------------------------------------------


def drills(services: Services, facts: Facts) -> Iterator[Finding]:
    """Say what came of the last rehearsal of a recovery, and how long it took; and of the newest of each kind
    that failed: one of another kind that passed makes none good."""
    for policy, kinds in groupby(sorted(facts.drills, key=attrgetter("policy")), attrgetter("policy")):
        newest = [ran for kind in kinds if (ran := _newest(kind.runs)) is not None]
        shown = sorted(newest, key=attrgetter("began"), reverse=True)
        shown = [*shown[:1], *(ran for ran in shown[1:] if ran.state is RunState.FAILED)]
        yield from (_drill(services, policy, ran, facts.now).on(policy=policy) for ran in shown)
    if not any(_newest(kind.runs) for kind in facts.drills):
        words = "no recovery was ever rehearsed, so nobody knows how long one takes"
        yield remark(DRILLS, words, _HERE if any(kind.schedule for kind in facts.drills) else _ELSEWHERE)


_HERE = "'strongroom drill full'; 'strongroom schedule' says when the next one is due."
_ELSEWHERE = (
    "None is planned on this host; 'strongroom schedule' says why. Where a key of the policy is: 'strongroom "
    "drill full'."
)


def _drill(services: Services, policy: str, ran: Drilled, now: float) -> Finding:
    words = f"{policy}: {ran.drill} drill of {rfc3339(ran.began)}"
    if ran.state is RunState.FAILED:
        hint = f"See 'strongroom status {ran.run}', put it right, then 'strongroom drill {ran.drill}'."
        return wrong(DRILLS, RunFailed(f"{words} failed: {_words(services, ran)}", hint=hint))
    if ran.recovered_in is None:
        return wrong(DRILLS, RecordRefused(f"what is on record of drill {ran.run} cannot be read"))
    words += f", {measured(ran.recovered_in)} of {ran.objective:g} s"
    if ran.state is RunState.DEGRADED:
        return wrong(DRILLS, RunDegraded(f"{words}: {_words(services, ran)}"))
    if now - ran.began > MONTH:
        return remark(DRILLS, f"{words}; once a month is asked for", "'strongroom drill full'.")
    return good(DRILLS, words)


def keys(facts: Facts) -> Iterator[Finding]:
    """Say when all keys were tried last, and what that trial could not look at. Each key says of itself how
    it stands."""
    found = facts.keys
    if found.checked_at is None:
        return
    if found.unread:
        yield wrong(KEYS, KeyUnproven(not_looked_at(found)))
    else:
        yield good(KEYS, f"all available keys were last tried {rfc3339(found.checked_at)}")


def emergency(
    services: Services, policies: Mapping[str, ConfiguredPolicy], *, now: float
) -> Iterator[Finding]:
    """Say which media are waited for."""
    for name, policy in sorted(policies.items()):
        if not policy.offline:
            continue
        found = medium_status(
            services, policy=name, schedule=policy.schedule, time_zone=policy.time_zone, now=now
        )
        since = f"{name}: its medium is waited for since {rfc3339(found.due_at or 0.0)}"
        hint = f"Bring it, then 'strongroom emergency-backup {name} --wait'."
        if found.state is Emergency.OVERDUE:
            yield wrong(EMERGENCY, BackupOverdue(f"{since}, and overdue", hint=hint)).on(policy=name)
        elif found.state is Emergency.WAITING:
            yield remark(EMERGENCY, since, hint).on(policy=name)
        elif found.state is Emergency.COMING:
            fetch = "Fetch the medium until then."
            yield remark(EMERGENCY, f"{name}: due on {rfc3339(found.due_at or 0.0)}", fetch).on(policy=name)
        else:
            yield good(EMERGENCY, f"{name}: {found.backup or 'nothing is due yet'}").on(policy=name)
