"""The health of backups: there, sound and sealed for the right ones, on every target, not in the catalog
alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from strongroom.container.errors import MissingPiece
from strongroom.operations.archive.expected_secrets import FLOOR, REMEMBERED
from strongroom.operations.archive.file_backups import in_a_file
from strongroom.operations.archive.quarantine import all_quarantined
from strongroom.operations.backup.quorum import missing_from_quorum
from strongroom.operations.errors import BackupQuarantined, QuorumNotMet, RunDegraded
from strongroom.operations.facts.records import AlertLimits
from strongroom.operations.findings import Finding, good, remark, wrong
from strongroom.operations.health.keys import History, history, judge, judge_ages, labels_of
from strongroom.operations.health.replica import (
    ACCESS,
    ENCRYPTION,
    INTEGRITY,
    CheckingMeans,
    ExpectedReplicas,
)
from strongroom.operations.health.replicas import ReplicaFindings, inspect_replicas
from strongroom.operations.keep_rules import ConfiguredPolicy
from strongroom.operations.services import Services
from strongroom.operations.shredding.record import shredded_backups
from strongroom.state.records import CatalogEntry
from strongroom.words import plural, verb


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
