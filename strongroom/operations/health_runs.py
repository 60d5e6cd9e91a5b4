"""What the record tells of runs, slots, drills, keys and media. Nothing on a target is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from strongroom.errors import BackupOverdue, KeyUnproven, RunDegraded, RunFailed
from strongroom.model import Depth
from strongroom.operations import failures
from strongroom.operations.abandoned import is_abandoned
from strongroom.operations.emergency import State as Emergency
from strongroom.operations.emergency import standing
from strongroom.operations.health import Finding, good, remark, wrong
from strongroom.operations.health_catalog import ENDED, MONTH, made_at
from strongroom.operations.health_policies import Policy
from strongroom.operations.keyhealth import events
from strongroom.operations.keytrial import CHECKED
from strongroom.operations.services import Services
from strongroom.operations.submit import Scheduled
from strongroom.operations.times import rfc3339
from strongroom.state.records import CatalogEntry, Run, RunKind, RunState, StepKind, StepState
from strongroom.watch import facts as watched
from strongroom.watch.due import last_slot
from strongroom.watch.facts import Seen
from strongroom.watch.freshness import Freshness, is_verified, judge
from strongroom.words import plural

RUNS, SLOTS, DRILLS, KEYS, EMERGENCY = "runs", "slots", "drills", "keys", "emergency"
EVERY = 1_000_000
GRACE = 3600.0
"""How long a run without news may still be at work, and after its slot a rehearsal on its way."""


# -- runs ----------------------------------------------------------------------


def runs(services: Services, every: Sequence[Run], *, cluster: bool, now: float) -> Iterator[Finding]:
    """Say which runs do not move, and whose newest backup failed; ``every`` has the newest first."""
    found = [*_unmoving(services, now, cluster=cluster), *_failed(services, every)]
    active = len(services.store.active())
    yield from found or [good(RUNS, f"{plural(active, 'run')} at work, none stuck, abandoned or poisoned")]


def _unmoving(services: Services, now: float, *, cluster: bool) -> Iterator[Finding]:
    for run in services.store.active():
        about = f"{run.spec.kind} of '{run.spec.policy}', run {run.id}"
        retry = f"'strongroom retry {run.id}' goes on with it, 'strongroom cancel {run.id}' ends it."
        rows = services.store.rows(run.id)
        waiting = {row.step.kind.queue for row in rows if row.state in (StepState.READY, StepState.SENT)}
        if not cluster and is_abandoned(run, services.store, services.state_dir):
            yield wrong(RUNS, RunFailed(f"{about}: abandoned, its process is gone", hint=retry))
        elif any(row.state is StepState.RUNNING for row in rows):
            continue
        elif waiting == {"recover"}:
            yield remark(
                RUNS,
                f"{about}: waits for whoever holds the keys: the recover workers, or custodians",
                "'strongroom up --with-recover', for as long as it takes.",
            )
        elif now - max([run.created_at, *(row.finished_at or row.started_at or 0.0 for row in rows)]) > GRACE:
            words = f"{about}: stuck, nothing happened for over an hour"
            yield wrong(RUNS, RunFailed(words, hint=f"See 'strongroom status {run.id}'. {retry}"))


def _failed(services: Services, every: Sequence[Run]) -> Iterator[Finding]:
    """Say of which policies the newest backup failed: what failed before it was made good."""
    for run in _newest(every, RunKind.BACKUP).values():
        if run.state is not RunState.FAILED:
            continue
        happened, _ = failures.apart(run.error)
        poisoned = [row for row in services.store.rows(run.id) if row.state is StepState.POISONED]
        kind = "poisoned" if poisoned else "failed"
        words = f"the newest backup of '{run.spec.policy}', run {run.id}, {kind}: {happened}"
        yield wrong(RUNS, RunFailed(words)).on(policy=run.spec.policy)


def _newest(every: Iterable[Run], kind: RunKind) -> dict[str, Run]:
    """Return the newest run of a kind that ended, of each policy."""
    found: dict[str, Run] = {}
    for run in every:
        if run.spec.kind is kind and run.state in ENDED and not run.spec.policy.startswith("("):
            found.setdefault(run.spec.policy, run)
    return found


# -- slots and backups -----------------------------------------------------------


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
        if policy.schedule and not policy.offline:  # media that are waited for are told of by themselves
            yield _fresh(_judged(services, name, policy, threshold, now)).on(policy=name)


def _judged(services: Services, name: str, policy: Policy, threshold: float, now: float) -> Freshness:
    verified = next(
        filter(None, (_verified(services, one) for one in services.store.backups(policy=name))), None
    )
    facts = watched.Policy(name=name, schedule=policy.schedule, verified=verified)
    return judge(facts, threshold=threshold, now=now)


def _verified(services: Services, entry: CatalogEntry) -> Seen | None:
    """Return a backup that was read back from at least one target."""
    depths = [one.verified for one in services.store.replicas(entry.backup) if one.good]
    depth = max((one for one in depths if one is not None), key=list(Depth).index, default=None)
    return (
        Seen(backup=entry.backup, made_at=made_at(entry), depth=depth)
        if is_verified(depth, Depth.DIGEST)
        else None
    )


def _fresh(found: Freshness) -> Finding:
    since = rfc3339(found.missed_at) if found.missed_at else ""
    if found.overdue:
        words = f"{found.policy}: due {since}, and no verified backup was made since"
        hint = "See that beat and the workers run ('strongroom up', or its service), or back up by hand."
        return wrong(SLOTS, BackupOverdue(words, hint=hint))
    if found.missed_at:
        return remark(SLOTS, f"{found.policy}: due {since}, and not made yet")
    due = f"last due {rfc3339(found.due_at)}, and made" if found.due_at else "no slot has come yet"
    return good(SLOTS, f"{found.policy}: {due}")


def drill_slot(services: Services, drill: Scheduled, *, now: float) -> Iterator[Finding]:
    """Say whether the last slot of the rehearsals was taken."""
    due = last_slot(drill.schedule, now)
    claimed = services.store.newest_slot(drill.slot) or 0.0
    if due is not None and claimed < due and now - due > GRACE:
        words = f"a rehearsal of '{drill.policy}' was due {rfc3339(due)}, and none was begun"
        hint = f"See that beat and the workers run, or: 'strongroom submit --drill {drill.policy}'."
        yield wrong(SLOTS, BackupOverdue(words, hint=hint)).on(policy=drill.policy)


# -- drills, keys, the safe ------------------------------------------------------


def drills(every: Sequence[Run], *, now: float) -> Iterator[Finding]:
    """Say what came of the last rehearsal of a recovery, and how long it took."""
    found = _newest(every, RunKind.DRILL)
    if not found:
        words = "no recovery was ever rehearsed, so nobody knows how long one takes"
        yield remark(DRILLS, words, "'strongroom submit --drill POLICY', or set drill.schedule.")
    for name, run in sorted(found.items()):
        yield _drill(run, now).on(policy=name)


def _drill(run: Run, now: float) -> Finding:
    words = f"{run.spec.policy}: rehearsed {rfc3339(run.created_at)}"
    if run.state is RunState.FAILED:
        return wrong(DRILLS, RunFailed(f"{words}, and failed: {failures.apart(run.error)[0]}"))
    took = sum(run.facts.get(kind, {}).get("seconds", 0.0) for kind in _TIMED)
    words += f", {took:.1f} s of {run.spec.options['objective_seconds']:g} s"
    if run.state is RunState.DEGRADED:
        return wrong(DRILLS, RunDegraded(f"{words}: {failures.apart(run.error)[0]}"))
    if now - run.created_at > MONTH:
        return remark(DRILLS, f"{words}; once a month is asked for", "'strongroom submit --drill POLICY'.")
    return good(DRILLS, words)


_TIMED = (StepKind.DRILL_RESTORE, StepKind.DRILL_COMPARE)


def keys(services: Services) -> Iterator[Finding]:
    """Say what the last trial of all keys found."""
    last = max(events(services, CHECKED), key=lambda event: event.id, default=None)
    if last is None:  # each key says so of itself
        return
    if bad := [str(one) for one in last.detail["bad"]]:
        words = f"of the trial of {rfc3339(last.at)}, not proven: {', '.join(bad)}"
        yield wrong(KEYS, KeyUnproven(words))
    else:
        yield good(KEYS, f"every key that backups depend on was proven by {rfc3339(last.at)}")


def emergency(services: Services, policies: Mapping[str, Policy], *, now: float) -> Iterator[Finding]:
    """Say which media are waited for."""
    for name, policy in sorted(policies.items()):
        if not policy.offline:
            continue
        found = standing(services, policy=name, schedule=policy.schedule, now=now)
        since = f"{name}: its medium is waited for since {rfc3339(found.due_at or 0.0)}"
        hint = f"Bring it, then 'strongroom emergency-backup {name} --wait'."
        if found.state is Emergency.OVERDUE:
            yield wrong(EMERGENCY, BackupOverdue(f"{since}, and overdue", hint=hint)).on(policy=name)
        elif found.state is Emergency.WAITING:
            yield remark(EMERGENCY, since, hint).on(policy=name)
        else:
            yield good(EMERGENCY, f"{name}: {found.backup or 'nothing is due yet'}").on(policy=name)


# -- both commands' ------------------------------------------------------------


def begun(services: Services) -> list[Run]:
    """Return every run on record, newest first."""
    return services.store.runs(limit=EVERY)
