"""What no facts have and a look from here sees: backups, the ledger, the machine, and the key metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from strongroom.container.errors import MissingPiece
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.model import Depth
from strongroom.operations.archive.envelopes import readers_now
from strongroom.operations.archive.inventory import in_a_file, is_gone, opened_files, said_gone
from strongroom.operations.archive.live_comparison import FLOOR, REMEMBERED
from strongroom.operations.archive.open import ReadBackKeys, read_back
from strongroom.operations.archive.quarantine import all_quarantined
from strongroom.operations.archive.shredding import shredded_backups
from strongroom.operations.backup.verify import missing_from_quorum, reaches
from strongroom.operations.engine import run_log
from strongroom.operations.engine.findings import Finding, finding_of_error, good, remark, unknown, wrong
from strongroom.operations.engine.services import ConfiguredPolicy, Services
from strongroom.operations.errors import BackupQuarantined, QuorumNotMet, RunDegraded
from strongroom.operations.judge.fact_records import AlertLimits, InstallationFacts
from strongroom.operations.judge.replicas import (
    ACCESS,
    ENCRYPTION,
    INTEGRITY,
    CheckingMeans,
    ExpectedReplicas,
    ReplicaFindings,
    inspect_replicas,
    reached,
    sound,
)
from strongroom.operations.judge.sealed_for import History, history, judge, judge_ages, labels_of
from strongroom.operations.keys.health import DAY
from strongroom.operations.keys.usage import look_all
from strongroom.state.records import CatalogEntry, Replica, RunCount, RunKind, RunState
from strongroom.targets.single_file import BundleReader
from strongroom.times import about
from strongroom.words import plural, verb

# -- The health of backups: there, sound and sealed for the right ones, on every target, not in the catalog
# alone


def retained_backups(services: Services) -> list[CatalogEntry]:
    """Return the backups of policies that are to be kept, newest first. What commands wrote into files is
    looked at by its path ('strongroom backups verify')."""
    shredding = shredded_backups(services.store, services.signer_fingerprints)
    entries = services.store.backups()
    return [entry for entry in entries if entry.backup not in shredding and not in_a_file(entry)]


def newest_of(entries: Iterable[CatalogEntry]) -> list[CatalogEntry]:
    """Return the newest backup of each policy; entries are given newest first."""
    found: dict[str, CatalogEntry] = {}
    for entry in entries:
        found.setdefault(entry.policy, entry)
    return list(found.values())


def check(
    means: CheckingMeans,
    chosen: Sequence[CatalogEntry],
    policies: Mapping[str, ConfiguredPolicy],
    *,
    every: Sequence[CatalogEntry],
    targets: frozenset[str] = frozenset(),
) -> list[Finding]:
    """Look at backups, on all of their targets or on some.

    Args:
        chosen: which backups.
        policies: all that are configured, by name.
        every: all backups that are kept, newest first: what a count is held against.
        targets: only these, if any are given; whether a quorum holds is not asked then.
    """
    wanted = [
        _wanted(means.services, catalog_entry, policies.get(catalog_entry.policy), targets)
        for catalog_entry in chosen
    ]
    wanted = [due for due in wanted if due.targets or not targets]
    seen, unlisted = inspect_replicas(wanted, means)
    known = history(means.services, means.used)
    aside = all_quarantined(means.services)
    findings = [*unlisted]
    for expected in wanted:
        entry, policy = expected.entry, policies.get(expected.entry.policy)
        mine = [each for each in seen if each.backup == entry.backup]
        about = [*_replicas(mine, policy, known), *_unplaced(expected, policy, means)]
        if ACCESS in means.checks and not targets:
            about += _quorum(mine, policy)
        if INTEGRITY in means.checks:
            about += [*_aside(entry, aside), *_fewer(entry, every)]
        findings += [each.on(policy=entry.policy, backup=entry.backup) for each in about]
    if ENCRYPTION in means.checks:
        findings += _keys(seen, chosen, policies, known, means.limits)
    return findings


def _wanted(
    services: Services, entry: CatalogEntry, policy: ConfiguredPolicy | None, only: frozenset[str]
) -> ExpectedReplicas:
    """Return where a backup is to be: on its policy's targets, and wherever it is on record."""
    names = [*policy.targets] if policy else []
    names += [replica.target for replica in services.store.replicas(entry.backup)]
    asked = [name for name in dict.fromkeys(names) if not only or name in only]
    return ExpectedReplicas(
        entry=entry,
        targets=tuple(name for name in asked if name in services.targets),
        strange=tuple(name for name in asked if name not in services.targets),
        minimum_retention_days=policy.spec.minimum_retention_days if policy else 0,
    )


def _unplaced(
    due: ExpectedReplicas, policy: ConfiguredPolicy | None, means: CheckingMeans
) -> Iterator[Finding]:
    """Say what is not known of where a backup belongs, and where it may lie besides."""
    check = _first(means)
    if policy is None:
        words = "no policy of that name is configured any more, so nothing says where it belongs"
        yield remark(check, words, "'strongroom backups verify TARGET' looks at a backup by itself.")
    if due.strange:
        words = (
            f"it is also on record on {', '.join(due.strange)}, which is configured no more: not looked at"
        )
        yield remark(
            check, words, "If such a copy is out of your hands, see docs/how-to/respond-to-a-leak.md."
        )
    if not due.targets:
        yield wrong(check, MissingPiece("none of its targets is configured here", hint="Name them again."))


def _first(means: CheckingMeans) -> str:
    return min(means.checks)


def _replicas(
    seen: Sequence[ReplicaFindings], policy: ConfiguredPolicy | None, known: History
) -> Iterator[Finding]:
    for replica_findings in seen:
        for finding in replica_findings.findings:
            yield _in_the_safe(finding) if policy and policy.offline else finding
        if replica_findings.manifest is not None:
            about = judge(replica_findings.manifest, replica_findings.opens, policy, known)
            yield from (finding.on(target=replica_findings.target) for finding in about)


def _in_the_safe(finding: Finding) -> Finding:
    """A medium that is away lies where it should; nothing is said of what is on it."""
    if finding.code != "TargetUnavailable":
        return finding
    return remark(finding.check, "the medium is not mounted, so it was not checked").on(
        policy=finding.policy, backup=finding.backup, target=finding.target
    )


def _quorum(seen: Sequence[ReplicaFindings], policy: ConfiguredPolicy | None) -> Iterator[Finding]:
    """Hold what is really there to the policy's quorum, as if the backup were made today."""
    whole = tuple(findings.target for findings in seen if findings.whole)
    if policy is None or (policy.offline and len(whole) < len(seen)):
        return
    if lacking := missing_from_quorum(policy.spec, whole):
        none = "" if whole else "; no target that answers has it whole"
        hint = (
            "Bring the targets back, or 'strongroom backups repair' from a good one. Else back up again "
            "at once."
        )
        yield wrong(ACCESS, QuorumNotMet(f"{lacking}{none}", hint=hint))
    else:
        have = f"{plural(len(whole), 'target')} {verb(len(whole), 'have')}"
        yield good(ACCESS, f"{have} it whole: the policy's quorum holds")


def _aside(entry: CatalogEntry, aside: Mapping[str, str]) -> Iterator[Finding]:
    if incident := aside.get(entry.backup):
        yield wrong(INTEGRITY, BackupQuarantined(f"it is in quarantine {incident}"))


def _fewer(entry: CatalogEntry, every: Sequence[CatalogEntry]) -> Iterator[Finding]:
    """Hold the count to those of the backups before it, as the report of its run did."""
    expected = _before(entry, every)
    if entry.secrets < FLOOR * expected:
        hint = "Check whether somebody deleted that much at the source, or a permission hides it."
        words = f"it holds {plural(entry.secrets, 'secret')} where {expected:,} were held before"
        yield wrong(INTEGRITY, RunDegraded(words, hint=hint))


def _before(entry: CatalogEntry, every: Sequence[CatalogEntry]) -> int:
    made = datetime.fromisoformat(entry.created_at)
    others = [
        catalog_entry
        for catalog_entry in every
        if catalog_entry.policy == entry.policy and catalog_entry.backup != entry.backup
    ]
    older = [catalog_entry for catalog_entry in others if catalog_entry.created_at <= entry.created_at]
    since = made - timedelta(seconds=REMEMBERED)
    late = [
        catalog_entry.secrets
        for catalog_entry in older
        if datetime.fromisoformat(catalog_entry.created_at) >= since
    ]
    return max([*late, *(catalog_entry.secrets for catalog_entry in older[:1])], default=0)


def _keys(
    seen: Sequence[ReplicaFindings],
    chosen: Sequence[CatalogEntry],
    policies: Mapping[str, ConfiguredPolicy],
    known: History,
    limits: AlertLimits,
) -> Iterator[Finding]:
    """Say how the keys stand that these backups open for: once a key, not once a backup."""
    named = {entry.policy for entry in chosen}
    opened = [findings.opens for findings in seen if findings.opens is not None]
    labels = labels_of((policy for name, policy in policies.items() if name in named), opened)
    yield from judge_ages(ENCRYPTION, labels, known, limits)


def nothing_seen(findings: Iterable[Finding], check: str) -> list[Finding]:
    """Return a finding if none is about a backup: what has nothing to look at is not well."""
    if any(finding.backup for finding in findings):
        return []
    words = "nothing was checked: no such backup is on record"
    return [wrong(check, MissingPiece(words, hint="See 'strongroom backups list'."))]


# -- The health of backups that commands wrote into files: no policy and no catalog of targets knows of them


def file_backups(services: Services) -> list[CatalogEntry]:
    """Return the backups that commands wrote into files, but for those that a person said are gone."""
    said = said_gone(services)
    entries = [entry for entry in services.store.backups() if in_a_file(entry)]
    return [entry for entry in entries if not is_gone(services, entry.backup, said)]


def check_files(means: CheckingMeans, entries: Sequence[CatalogEntry]) -> list[Finding]:
    """Look at each file where it was written. Of one that is elsewhere now nothing is known."""
    known = history(means.services)
    return [
        finding.on(policy=entry.policy, backup=entry.backup)
        for entry in entries
        for finding in _file(entry, means, known)
    ]


def _file(entry: CatalogEntry, means: CheckingMeans, known: History) -> Iterator[Finding]:
    try:
        for reader, manifest in opened_files(means.services, entry.backup):
            yield from (finding.on(target=reader.address) for finding in _read(reader, manifest, means))
        if ENCRYPTION in means.checks:
            yield from _readers(entry, means, known)
    except StrongroomError as error:
        yield from (unknown(check, error) for check in sorted(means.checks))


def _read(reader: BundleReader, manifest: Manifest, means: CheckingMeans) -> Iterator[Finding]:
    keys = ReadBackKeys(
        identities=means.identities,
        digest_key=means.services.digest_key or None,
        trusted=means.services.signer_fingerprints,
    )
    for check, depth in ((ACCESS, Depth.PRESENT), (INTEGRITY, reached(manifest, means))):
        if check not in means.checks:
            continue
        try:
            read_back(reader, manifest, depth, keys)
        except StrongroomError as error:
            yield finding_of_error(check, error)
        else:
            yield from (
                sound(manifest, means) if check == INTEGRITY else [good(check, "the file has all of it")]
            )


def _readers(entry: CatalogEntry, means: CheckingMeans, known: History) -> Iterator[Finding]:
    services = means.services
    opened = {opening.file: opening for opening in look_all(services, [entry]).found}
    for reader, manifest in opened_files(services, entry.backup):
        now = readers_now(reader, manifest, trusted=services.signer_fingerprints)
        findings = judge(now, opened.get(reader.address), None, known)
        yield from (finding.on(target=reader.address) for finding in findings)


# -- The procedures' key metrics: numbers over a window, beside what they aim at. What is wrong is judged
# elsewhere


NAMED = 1000
SUCCESS = 0.999
"""What part of the backups is to succeed, by the procedures."""


class KeyMetrics(Struct, frozen=True, kw_only=True):
    """The procedures' key metrics over a window. ``backups`` counts attempts: one that failed and was then
    retried is two, and one that had nothing to back up yet is none. Rates are parts of 1, and ``None`` where
    there was nothing to count. ``oldest_key_days`` is how long the oldest key that policies seal to is in
    use."""

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
    failures = sum(count.failures for count in counts if count.kind is RunKind.BACKUP)
    attempts = made + failures - _found_nothing_yet(services, counts)
    every = list(_replica_metrics(services, kept, policies))
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


def _found_nothing_yet(services: Services, counts: Sequence[RunCount]) -> int:
    """Count the backups of a window that had nothing to back up yet. Only the runs themselves say so, and
    those of a policy without a failure are not read."""
    backups = [count for count in counts if count.kind is RunKind.BACKUP]
    runs = Counter({count.policy: 0 for count in backups if count.state is RunState.FAILED})
    for count in backups:
        if count.policy in runs:
            runs[count.policy] += count.runs
    return sum(
        run_log.found_nothing_yet(run)
        for policy, many in runs.items()
        for run in services.store.runs_of(policy, RunKind.BACKUP, limit=many)
    )


def _replica_metrics(
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
