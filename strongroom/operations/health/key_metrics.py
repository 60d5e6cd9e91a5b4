"""The procedures' key metrics: numbers over a window, beside what they aim at. What is wrong is judged
elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from strongroom.durations import about
from strongroom.model import Depth
from strongroom.operations.backup.verify import reaches
from strongroom.operations.facts.records import InstallationFacts
from strongroom.operations.keep_rules import ConfiguredPolicy
from strongroom.operations.key_management.proofs import DAY
from strongroom.operations.services import Services
from strongroom.state.records import CatalogEntry, Replica, RunCount, RunKind, RunState
from strongroom.words import plural

NAMED = 1000
SUCCESS = 0.999
"""What part of the backups is to succeed, by the procedures."""


class KeyMetrics(Struct, frozen=True, kw_only=True):
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

    def pairs(self, *, key_age: float) -> Iterator[tuple[str, str]]:
        """Yield each in words. ``key_age`` is that of the alerts, in seconds."""
        rate = f" ({self.success_rate:.1%})" if self.success_rate is not None else ""
        days = plural(self.days, "day")
        yield (
            f"Backups in {days}",
            f"{self.backups_made:,} of {self.backups:,} made{rate}; over {SUCCESS:.1%}",
        )
        yield "Replicas verified", f"{self.replicas_verified:,} of {self.replicas:,}; the aim is all"
        yield f"Rehearsals in {days}", f"{self.drills_passed:,} of {self.drills:,} passed"
        if self.oldest_key_days is not None:
            age = plural(self.oldest_key_days, "day")
            yield "Oldest key in use", f"{age}; rotated after {about(key_age)}"


def metrics(
    services: Services,
    facts: InstallationFacts,
    kept: Sequence[CatalogEntry],
    policies: dict[str, ConfiguredPolicy],
    *,
    days: int,
) -> KeyMetrics:
    """Count over the runs that began in a window, and over the replicas of what is kept."""
    counts = [
        count for count in services.store.counts(since=facts.now - days * DAY) if count.policy in policies
    ]
    made = _runs(counts, RunKind.BACKUP, RunState.DONE, RunState.DEGRADED)
    attempts = made + sum(count.failures for count in counts if count.kind is RunKind.BACKUP)
    every = list(_replicas(services, kept, policies))
    verified = sum(replica.good and deep for replica, deep in every)
    return KeyMetrics(
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


def _replicas(
    services: Services, kept: Sequence[CatalogEntry], policies: dict[str, ConfiguredPolicy]
) -> Iterator[tuple[Replica, bool]]:
    """Yield every replica, and whether it was read back as deep as its policy says."""
    policy_of = {entry.backup: policies.get(entry.policy) for entry in kept}
    backups = list(policy_of)
    for at in range(0, len(backups), NAMED):  # a query takes only so many names
        for backup, replicas in services.store.replicas_of(backups[at : at + NAMED]).items():
            yield from ((replica, _deep(replica, policy_of[backup])) for replica in replicas)


def _deep(replica: Replica, policy: ConfiguredPolicy | None) -> bool:
    depth = policy.spec.depth if policy else Depth.DIGEST
    if policy is not None and not policy.spec.sealed:
        depth = min(depth, Depth.OPENED, key=list(Depth).index)
    return replica.verified is not None and reaches(replica.verified, depth)


def _runs(counts: Iterable[RunCount], kind: RunKind, *states: RunState) -> int:
    return sum(count.runs for count in counts if count.kind is kind and count.state in states)


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
