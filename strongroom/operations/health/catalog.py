"""What the catalog tells: the newest backups, all replicas, and the key metrics. No container is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from strongroom.durations import about
from strongroom.model import Depth
from strongroom.operations import recorded_errors
from strongroom.operations.archive.locks import left_unlocked
from strongroom.operations.archive.quarantine import on_record
from strongroom.operations.backup.verify import reaches
from strongroom.operations.errors import BackupOverdue, RunDegraded
from strongroom.operations.facts.freshness import SKEW, Freshness, is_idle, judge
from strongroom.operations.facts.records import Facts
from strongroom.operations.facts.watched import ConfiguredPolicy
from strongroom.operations.findings import Finding, good, remark, wrong
from strongroom.operations.key_management.proofs import DAY
from strongroom.operations.services import Services
from strongroom.state.errors import RunNotFound
from strongroom.state.records import CatalogEntry, Replica, RunCount, RunKind, RunState
from strongroom.timestamps import rfc3339
from strongroom.words import plural, verb

BACKUPS, REPLICAS, METRICS = "backups", "replicas", "metrics"
MONTH = 31 * DAY
NAMED = 1000
SUCCESS = 0.999
"""What part of the backups is to succeed, by the procedures."""


def made_at(entry: CatalogEntry) -> float:
    return datetime.fromisoformat(entry.created_at).timestamp()


def backups(
    services: Services,
    facts: Facts,
    known: Mapping[str, Sequence[Replica]],
    newest: Mapping[str, CatalogEntry],
    policies: Mapping[str, ConfiguredPolicy],
) -> Iterator[Finding]:
    """Say of each policy how old its newest backup is, how deep it was read back, and what it lacks."""
    unlocked, now = left_unlocked(services.store), facts.now
    idle = {policy.name for policy in facts.policies if is_idle(policy)}
    for name, policy in sorted(policies.items()):
        entry = newest.get(name)
        if entry is None:
            if policy.schedule is None or policy.offline or name in idle:  # else its slots tell
                yield none_yet(BACKUPS, facts, policy, threshold=0.0).on(policy=name)
            continue
        replicas = known.get(entry.backup, ())
        findings = [*_bad(entry, replicas), *_unlocked(entry, unlocked), *_short(services, entry)]
        findings += _ahead(entry, now)
        words = f"{name}: {entry.backup}, {about(now - made_at(entry))} old, {_depth(replicas)}"
        old = policy.schedule is None and now - made_at(entry) > MONTH
        findings += (
            [remark(BACKUPS, f"{words}; no schedule makes another", _BY_HAND.format(name))] if old else []
        )
        yield from (
            finding.on(policy=name, backup=entry.backup) for finding in findings or [good(BACKUPS, words)]
        )


_IDLE = (
    "Look at the source, or tag the secrets that are meant ('strongroom set NAME --tag KEY=VALUE'), and run "
    "'strongroom backup --policy {}', or remove the policy."
)
_BY_HAND = "'strongroom backup --policy {}', or give the policy a schedule."


def none_yet(check: str, facts: Facts, policy: ConfiguredPolicy, *, threshold: float) -> Finding:
    """Say that a policy has no backup: wrong, if one should have been made by itself. Where its source has
    nothing that it is for, and never had, there is nothing to lose yet.

    Args:
        threshold: for so many seconds after its time a backup may still be on its way.
    """
    name = policy.name
    known = next(one for one in facts.policies if one.name == name)
    words = f"{name}: there is no backup yet"
    if is_idle(known):
        return remark(check, f"{words}, for its source holds no secret that it is for", _IDLE.format(name))
    if policy.schedule is None or policy.offline:
        return remark(check, words, _BY_HAND.format(name))
    return fresh(check, judge(known, threshold=threshold, now=facts.now))


def fresh(check: str, found: Freshness) -> Finding:
    """Say whether a policy with a schedule is as fresh as that says."""
    since = rfc3339(found.missed_at) if found.missed_at else ""
    if found.overdue:
        words = f"{found.policy}: due {since}, and no verified backup was made since"
        if found.judged is None:  # the schedule may be older than the installation: nothing was missed then
            words = f"{found.policy}: no verified backup was made yet"
        hint = "See that beat and the workers run ('strongroom up', or its service), or back up by hand."
        return wrong(check, BackupOverdue(words, hint=hint))
    if found.missed_at:
        due = f"due {since}, and not made yet" if found.judged else "no verified backup was made yet"
        return remark(check, f"{found.policy}: {due}")
    if found.judged is None:
        words = f"{found.policy}: no backup yet; the first is due {rfc3339(found.next_due or 0.0)}"
        return remark(check, words, "'strongroom up' makes it when it starts.")
    due = f"last due {rfc3339(found.due_at)}, and made" if found.due_at else "no slot has come yet"
    return good(check, f"{found.policy}: {due}")


def _ahead(entry: CatalogEntry, now: float) -> Iterator[Finding]:
    """Say of a newest backup that will be the newest for long, whatever is made meanwhile."""
    if made_at(entry) > now + SKEW:
        words = (
            f"{entry.policy}: {entry.backup} says that it was made later than now: a clock is or was wrong"
        )
        yield remark(BACKUPS, words, "Restore from another backup by its name: 'strongroom catalog list'.")


def _bad(entry: CatalogEntry, replicas: Sequence[Replica]) -> Iterator[Finding]:
    if bad := [replica.target for replica in replicas if not replica.good]:
        words = f"{entry.policy}: {entry.backup} has no good replica on {', '.join(bad)}"
        hint = f"'strongroom repair {entry.backup}' copies it from a good one."
        yield wrong(BACKUPS, RunDegraded(words, hint=hint))


def _unlocked(entry: CatalogEntry, unlocked: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    if where := unlocked.get(entry.backup):
        words = f"{entry.policy}: {entry.backup} is not locked on {', '.join(where)}"
        hint = f"'strongroom repair {entry.backup}' locks it."
        yield wrong(BACKUPS, RunDegraded(words, hint=hint))


def _short(services: Services, entry: CatalogEntry) -> Iterator[Finding]:
    """Say what else its run lacked. What a replica or a lock lacked is judged as it is now."""
    try:
        run = services.store.load(entry.backup)
    except RunNotFound:  # the catalog was rebuilt
        return
    happened, to_do = recorded_errors.apart(run.error) if run.state is RunState.DEGRADED else ("", "")
    if happened and not happened.startswith(("no good replica", "whole, but not locked")):
        yield remark(BACKUPS, f"{entry.policy}: {entry.backup} is degraded: {happened}", to_do)


def _depth(replicas: Sequence[Replica]) -> str:
    good_ones = [replica for replica in replicas if replica.good]
    depths = {replica.verified or "never verified" for replica in good_ones}
    return f"good on {plural(len(good_ones), 'target')}, {' and '.join(sorted(map(str, depths)))}"


def replicas(
    services: Services,
    known: Mapping[str, Sequence[Replica]],
    kept: Sequence[CatalogEntry],
    policies: Mapping[str, ConfiguredPolicy],
) -> Iterator[Finding]:
    """Say which of all replicas are bad, or not read back as deep as their policy says."""
    every = _each_replica(known, kept, policies)
    total, bad = len(every), {replica.backup for replica, _ in every if not replica.good}
    shallow = sum(replica.good and not deep for replica, deep in every)
    if bad:
        words = f"bad replicas of {plural(len(bad), 'backup')} out of {len(kept):,}, such as {max(bad)}"
        hint = "'strongroom replicas' names them, 'strongroom repair BACKUP' mends one."
        yield wrong(REPLICAS, RunDegraded(words, hint=hint))
    if shallow:
        hint = (
            "'strongroom backup-health-check --all' reads them back, or 'strongroom submit --verify BACKUP'."
        )
        which = f"{shallow:,} of {plural(total, 'replica')} {verb(shallow, 'are')}"
        yield remark(REPLICAS, f"{which} not verified as deep as asked", hint)
    if not bad and not shallow:
        yield good(
            REPLICAS, f"{plural(total, 'replica')}: all good, and verified as deep as their policies say"
        )
    if aside := on_record(services.store):
        yield remark(
            REPLICAS,
            f"{plural(len(aside), 'backup')} in quarantine",
            "Restores leave them out: others may read them. 'strongroom incident status' says what is next.",
        )


def replicas_of(services: Services, entries: Sequence[CatalogEntry]) -> dict[str, list[Replica]]:
    """Return the replicas of each backup; a query takes only so many names."""
    names = [entry.backup for entry in entries]
    found: dict[str, list[Replica]] = {}
    for at in range(0, len(names), NAMED):
        found |= services.store.replicas_of(names[at : at + NAMED])
    return found


def _each_replica(
    known: Mapping[str, Sequence[Replica]],
    kept: Sequence[CatalogEntry],
    policies: Mapping[str, ConfiguredPolicy],
) -> list[tuple[Replica, bool]]:
    """Return every replica, and whether it was read back as deep as its policy says."""
    return [
        (replica, _deep(replica, policies.get(entry.policy)))
        for entry in kept
        for replica in known.get(entry.backup, ())
    ]


def _deep(replica: Replica, policy: ConfiguredPolicy | None) -> bool:
    depth = policy.spec.depth if policy else Depth.DIGEST
    if policy is not None and not policy.spec.sealed:
        depth = min(depth, Depth.OPENED, key=list(Depth).index)
    return replica.verified is not None and reaches(replica.verified, depth)


# -- key metrics -----------------------------------------------------------------


class Metrics(Struct, frozen=True, kw_only=True):
    """The procedures' key metrics over a window. ``backups`` counts attempts: one that failed and was then
    retried is two. Rates are parts of 1, and ``None`` where there was nothing
    to count. ``oldest_key_days`` is how long the oldest key that policies seal to is in use."""

    days: int
    backups: int
    backups_made: int
    success_rate: float | None
    replicas: int
    replicas_verified: int
    verified_rate: float | None
    drills: int
    drills_passed: int
    oldest_key_days: int | None


def metrics(
    services: Services,
    facts: Facts,
    known: Mapping[str, Sequence[Replica]],
    kept: Sequence[CatalogEntry],
    policies: Mapping[str, ConfiguredPolicy],
    *,
    days: int,
) -> Metrics:
    """Count over the runs that began in a window, and over the replicas of what is kept."""
    counts = [one for one in services.store.counts(since=facts.now - days * DAY) if one.policy in policies]
    made = _runs(counts, RunKind.BACKUP, RunState.DONE, RunState.DEGRADED)
    attempts = made + sum(one.failures for one in counts if one.kind is RunKind.BACKUP)
    every = _each_replica(known, kept, policies)
    verified = sum(replica.good and deep for replica, deep in every)
    return Metrics(
        days=days,
        backups=attempts,
        backups_made=made,
        success_rate=_rate(made, attempts),
        replicas=len(every),
        replicas_verified=verified,
        verified_rate=_rate(verified, len(every)),
        drills=_runs(counts, RunKind.DRILL, RunState.DONE, RunState.DEGRADED, RunState.FAILED),
        drills_passed=_runs(counts, RunKind.DRILL, RunState.DONE),
        oldest_key_days=max((int((facts.now - used.at) // DAY) for used in facts.keys.used), default=None),
    )


def _runs(counts: Iterable[RunCount], kind: RunKind, *states: RunState) -> int:
    return sum(one.runs for one in counts if one.kind is kind and one.state in states)


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def of_metrics(found: Metrics, *, key_age: float) -> Iterator[Finding]:
    """Hold the key metrics to what the procedures ask for. They tell of a whole window, and what is wrong
    now is told elsewhere: so none is an alarm by itself. ``key_age`` is that of the alerts, in seconds."""
    rate = found.success_rate
    words = f"backups in {plural(found.days, 'day')}: {found.backups_made:,} of {found.backups:,} made"
    shown = f"{words} ({rate:.1%}; the aim is over {SUCCESS:.1%})" if rate is not None else words
    yield (
        remark(METRICS, shown) if rate is not None and rate <= SUCCESS and rate < 1 else good(METRICS, shown)
    )
    words = f"replicas verified: {found.replicas_verified:,} of {found.replicas:,} (the aim is all)"
    yield good(METRICS, words) if found.replicas_verified == found.replicas else remark(METRICS, words)
    words = f"rehearsals in {plural(found.days, 'day')}: {found.drills_passed:,} of {found.drills:,} passed"
    yield (
        good(METRICS, words)
        if found.drills and found.drills_passed == found.drills
        else remark(METRICS, words)
    )
    if found.oldest_key_days is not None:
        words = f"oldest key in use: {plural(found.oldest_key_days, 'day')} (rotated after {about(key_age)})"
        yield good(METRICS, words) if found.oldest_key_days <= key_age // DAY else remark(METRICS, words)
