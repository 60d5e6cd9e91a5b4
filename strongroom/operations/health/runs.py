"""What the record tells of runs, slots, drills, keys and media. Nothing on a target is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from strongroom.durations import measured
from strongroom.keys.errors import KeyUnproven
from strongroom.model import Depth
from strongroom.operations import recorded_errors
from strongroom.operations.alerts.upkeep_rules import BEAT_RESTS
from strongroom.operations.drills.facts import DrillFacts, took_seconds
from strongroom.operations.emergency.medium import State as Emergency
from strongroom.operations.emergency.medium import medium_status
from strongroom.operations.errors import BackupOverdue, RunDegraded, RunFailed
from strongroom.operations.facts import records as facts
from strongroom.operations.facts.freshness import SKEW, Freshness, is_verified, judge
from strongroom.operations.facts.record import BEAT
from strongroom.operations.facts.records import Seen
from strongroom.operations.findings import Finding, good, remark, wrong
from strongroom.operations.health.catalog import ENDED, MONTH, TURNS, is_idle, made_at
from strongroom.operations.health.policies import Policy
from strongroom.operations.key_management.health import events
from strongroom.operations.key_management.scheduled_check import CHECKED
from strongroom.operations.runs.abandoned import is_abandoned
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    ROTATING,
    CatalogEntry,
    Run,
    RunKind,
    RunState,
    StepKind,
    StepRow,
    StepState,
)
from strongroom.timestamps import rfc3339
from strongroom.words import plural

RUNS, SLOTS, DRILLS, KEYS, EMERGENCY = "runs", "slots", "drills", "keys", "emergency"
GRACE, LONGEST = 3600.0, 4 * 3600.0
"""How long a run may wait without news, and how long one step may take; in seconds."""
WITH_KEYS = frozenset({StepKind.RESTORE, *ROTATING})
"""The steps that are done where keys are at hand, which is not always."""


# -- runs ----------------------------------------------------------------------


def runs(services: Services, policies: Iterable[str], *, cluster: bool, now: float) -> Iterator[Finding]:
    """Say which runs do not move, and whose newest backup failed."""
    active = services.store.active()
    findings = [*_unmoving(services, active, now, cluster=cluster), *_failed(services, policies, now)]
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


def _failed(services: Services, policies: Iterable[str], now: float) -> Iterator[Finding]:
    """Say of which policies the newest backup or rotation failed: what failed before was made good."""
    for name, kind in product(policies, (RunKind.BACKUP, RunKind.ROTATE)):
        run = _newest(services, name, kind, now)
        if run is None or run.state is not RunState.FAILED or is_idle(services, name):
            continue
        what = "backup" if kind is RunKind.BACKUP else "rotation"
        words = f"the newest {what} of '{name}', run {run.id}, failed: {recorded_errors.apart(run.error)[0]}"
        yield wrong(RUNS, RunFailed(words, hint=f"See 'strongroom status {run.id}'.")).on(policy=name)


def _newest(services: Services, policy: str, kind: RunKind, now: float) -> Run | None:
    """Return a policy's newest run of a kind that ended, and not by somebody's hand. One of a clock that was
    ahead would be the newest for long."""
    return next(_ended(services, policy, kind, now), None)


def _ended(services: Services, policy: str, kind: RunKind, now: float) -> Iterator[Run]:
    found = services.store.runs_of(policy, kind, limit=TURNS)
    return (run for run in found if run.state in ENDED and run.created_at <= now + SKEW)


# -- slots -----------------------------------------------------------


def freshness(
    services: Services, policies: Mapping[str, Policy], *, threshold: float, now: float
) -> Iterator[Finding]:
    """Say of which policies a slot came and no backup that was read back was made since. Silence is an
    alarm, whoever should have broken it.

    Args:
        threshold: for so many seconds after its slot a backup may still be on its way.
    """
    if not any(policy.schedule for policy in policies.values()):
        yield remark(SLOTS, "no policy has a schedule: backups are made only when asked for")
    for name, policy in sorted(policies.items()):
        # What waits for a medium, or for a secret that its filter matches, is told of by itself.
        if policy.schedule and not policy.offline and not is_idle(services, name):
            yield _fresh(_judged(services, name, policy, threshold, now)).on(policy=name)


def _judged(services: Services, name: str, policy: Policy, threshold: float, now: float) -> Freshness:
    entries = [one for one in services.store.backups(policy=name) if made_at(one) <= now + SKEW]
    seen = (_verified(services, entry, policy.spec.depth) for entry in entries)
    verified = next((one for one in seen if one is not None), None)
    known = facts.Policy(name=name, schedule=policy.schedule, time_zone=policy.time_zone, verified=verified)
    return judge(known, threshold=threshold, now=now)


def _verified(services: Services, entry: CatalogEntry, wanted: Depth) -> Seen | None:
    """Return a backup if it was read back from at least one target."""
    depths = [one.verified for one in services.store.replicas(entry.backup) if one.good]
    depth = max((one for one in depths if one is not None), key=list(Depth).index, default=None)
    if not is_verified(depth, wanted):
        return None
    return Seen(backup=entry.backup, made_at=made_at(entry), depth=depth)


def _fresh(found: Freshness) -> Finding:
    since = rfc3339(found.missed_at) if found.missed_at else ""
    if found.overdue:
        words = f"{found.policy}: due {since}, and no verified backup was made since"
        if found.judged is None:  # the schedule may be older than the installation: nothing was missed then
            words = f"{found.policy}: no verified backup was made yet"
        hint = "See that beat and the workers run ('strongroom up', or its service), or back up by hand."
        return wrong(SLOTS, BackupOverdue(words, hint=hint))
    if found.missed_at:
        due = f"due {since}, and not made yet" if found.judged else "no verified backup was made yet"
        return remark(SLOTS, f"{found.policy}: {due}")
    due = f"last due {rfc3339(found.due_at)}, and made" if found.due_at else "no slot has come yet"
    return good(SLOTS, f"{found.policy}: {due}")


def beat(services: Services) -> Iterator[Finding]:
    """Say whether beat asks for what is due: it does so every half minute."""
    age = services.store.heartbeats().get(BEAT)
    hint = "Start it: 'strongroom up', or its service."
    if age is None:
        yield remark(SLOTS, "beat was never seen: nothing is made by schedule", hint)
    elif age > BEAT_RESTS:
        words = f"beat was last seen {age:,.0f} s ago: it is stopped or hung"
        yield wrong(SLOTS, BackupOverdue(words, hint=hint))
    else:
        yield good(SLOTS, "beat asks for what is due")


# -- drills, keys, the safe ------------------------------------------------------


def drills(services: Services, policies: Iterable[str], *, now: float) -> Iterator[Finding]:
    """Say what came of the last rehearsal of a recovery, and how long it took."""
    newest = [_newest(services, name, RunKind.DRILL, now) for name in sorted(policies)]
    found = [run for run in newest if run is not None]
    if not found:
        words = "no recovery was ever rehearsed, so nobody knows how long one takes"
        yield remark(
            DRILLS,
            words,
            "'strongroom drill full'; 'strongroom schedule' says when the next one is due.",
        )
    failed = [run for name in sorted(policies) for run in _failed_drills(services, name, now)]
    yield from (_drill(run, now).on(policy=run.spec.policy) for run in _each_once(found, failed))


def _failed_drills(services: Services, policy: str, now: float) -> Iterator[Run]:
    """Yield the newest drill of each kind that failed: one of another kind that passed makes none good."""
    newest: dict[object, Run] = {}
    for run in _ended(services, policy, RunKind.DRILL, now):
        newest.setdefault(run.spec.options.get("drill"), run)
    yield from (run for run in newest.values() if run.state is RunState.FAILED)


def _each_once(*runs: Iterable[Run]) -> Iterable[Run]:
    return {run.id: run for some in runs for run in some}.values()


def _drill(run: Run, now: float) -> Finding:
    kind = run.spec.options.get("drill")
    words = f"{run.spec.policy}: {kind} drill of {rfc3339(run.created_at)}"
    if run.state is RunState.FAILED:
        hint = f"See 'strongroom status {run.id}', put it right, then 'strongroom drill {kind}'."
        why = recorded_errors.apart(run.error)[0]
        return wrong(DRILLS, RunFailed(f"{words} failed: {why}", hint=hint))
    try:
        took = took_seconds(read_facts(run, DrillFacts))
    except RecordRefused as error:
        return wrong(DRILLS, error)
    words += f", {measured(took)} of {run.spec.options['objective_seconds']:g} s"
    if run.state is RunState.DEGRADED:
        return wrong(DRILLS, RunDegraded(f"{words}: {recorded_errors.apart(run.error)[0]}"))
    if now - run.created_at > MONTH:
        return remark(DRILLS, f"{words}; once a month is asked for", "'strongroom drill full'.")
    return good(DRILLS, words)


def keys(services: Services) -> Iterator[Finding]:
    """Say what the last trial of all keys found."""
    last = max(events(services, CHECKED), key=lambda event: event.id, default=None)
    if last is None:  # each key says so of itself
        return
    if bad := [str(one) for one in last.detail["bad"]]:
        words = f"of the trial of {rfc3339(last.at)}, not proven: {', '.join(bad)}"
        yield wrong(KEYS, KeyUnproven(words))
    else:
        yield good(KEYS, f"the trial of {rfc3339(last.at)} found no key that fails")


def emergency(services: Services, policies: Mapping[str, Policy], *, now: float) -> Iterator[Finding]:
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
