"""What frameworks ask of backups and configuration alone can tell. Pure: nothing is looked at here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from strongroom.operations.errors import RequirementUnmet
from strongroom.operations.findings import Finding, good, remark, wrong
from strongroom.words import plural

COPIES, CUSTODY, ERASURE = "copies", "custody", "erasure"
LOCKS, MONITORING, OFFLINE = "locks", "monitoring", "offline"
RETENTION, SCHEDULE, SEALING = "retention", "schedule", "sealing"

YEAR_DAYS = 365
KEY_SERVICES = frozenset({"pkcs11", "transit", "kms"})
TOGETHER = frozenset({"quorum", "all-of"})


class Demands(Struct, frozen=True, kw_only=True):
    """A policy, as it is configured.

    ``keys`` has the kind of each key that opens its backups, by name. ``quorum`` targets in ``regions``
    regions are enough for a backup, however many there are. ``locking`` are the targets that lock, and
    ``unyielding`` those of them where no right ends a lock early. ``why_short`` says why it keeps less
    than a year.
    """

    name: str
    values: bool
    sealed: bool
    schedule: str | None
    offline: bool
    erasable: bool
    quorum: int
    regions: int
    locking: tuple[str, ...]
    unyielding: tuple[str, ...]
    minimum_retention_days: int
    why_short: str | None
    keys: dict[str, str]


def require(policies: Iterable[Demands], *, told: int) -> Iterator[Finding]:
    """Hold policies to what frameworks ask of them.

    Args:
        told: by how many routes people are notified when something is wrong.
    """
    every = list(policies)
    full = [policy for policy in every if policy.values]
    if not full:
        words = "no policy backs up values: nothing could be brought back but names"
        unmet = RequirementUnmet(words, hint="'strongroom init' writes the procedures' own policies.")
        yield from (wrong(check, unmet) for check in (COPIES, CUSTODY, RETENTION, SCHEDULE, SEALING))
    for policy in full:
        findings = [_copies(policy), _custody(policy), *_alone(policy), _retention(policy), _schedule(policy)]
        yield from (finding.on(policy=policy.name) for finding in (*findings, _locks(policy)))
    yield from _sealing(every)
    yield from _some(full)
    yield _monitoring(told)


def _copies(policy: Demands) -> Finding:
    if policy.offline:
        return good(COPIES, f"{policy.name}: one offline medium, beside the other policies' copies")
    if policy.quorum < 2 or policy.regions < 2:
        places = f"{plural(policy.quorum, 'target')} in {plural(policy.regions, 'region')}"
        words = f"{policy.name}: whole on {places} is enough for it"
        return _unmet(
            COPIES, words, "Give it targets in two regions, and quorum = 2 and regions = 2 at least."
        )
    return good(COPIES, f"{policy.name}: at least {policy.quorum} copies, in {policy.regions} regions")


def _custody(policy: Demands) -> Finding:
    kinds = set(policy.keys.values())
    if kinds & (KEY_SERVICES | TOGETHER):
        held = sorted(name for name, kind in policy.keys.items() if kind in KEY_SERVICES | TOGETHER)
        return good(
            CUSTODY, f"{policy.name}: {', '.join(held)} is held by hardware, a service, or several people"
        )
    words = f"{policy.name}: no key of it is held by an HSM, a key service or several people together"
    return _unmet(
        CUSTODY,
        words,
        "Add one: 'strongroom keys hsm create', 'strongroom keys quorum create', "
        "docs/how-to/choose-recipients.md.",
    )


def _alone(policy: Demands) -> Iterator[Finding]:
    alone = sorted(name for name, kind in policy.keys.items() if kind not in KEY_SERVICES | TOGETHER)
    if alone:
        words = f"{policy.name}: one person with {' or '.join(alone)} can open its backups alone"
        yield remark(CUSTODY, words, "Where two people are demanded, leave a quorum or an all-of key only.")


def _retention(policy: Demands) -> Finding:
    if policy.minimum_retention_days >= YEAR_DAYS:
        return good(
            RETENTION, f"{policy.name}: kept for {plural(policy.minimum_retention_days, 'day')} at least"
        )
    words = f"{policy.name}: kept for {plural(policy.minimum_retention_days, 'day')}, less than a year"
    if policy.why_short:
        return remark(RETENTION, f"{words}: {policy.why_short}")
    return _unmet(RETENTION, words, "Set minimum_retention_days = 365 or more, or say why not.")


def _schedule(policy: Demands) -> Finding:
    if policy.schedule:
        return good(SCHEDULE, f"{policy.name}: {policy.schedule} (UTC)")
    return _unmet(SCHEDULE, f"{policy.name}: no schedule", "Give it one: backups by hand are forgotten.")


def _locks(policy: Demands) -> Finding:
    if policy.unyielding:
        return good(LOCKS, f"{policy.name}: nobody can remove it early from {', '.join(policy.unyielding)}")
    if policy.locking:
        where = ", ".join(policy.locking)
        return good(
            LOCKS, f"{policy.name}: nobody without the right to end a lock can remove it early from {where}"
        )
    words = f"{policy.name}: anyone who may delete on its targets can remove it"
    return remark(
        LOCKS,
        words,
        "Set lock on a target of another administrator (docs/how-to/store-backups-in-s3-or-azure.md).",
    )


def _sealing(every: Iterable[Demands]) -> Iterator[Finding]:
    for policy in every:
        if policy.sealed:
            words = f"{policy.name}: sealed with AES-256-GCM before it leaves the process that read it"
            yield good(SEALING, words).on(policy=policy.name)
        else:
            words = f"{policy.name}: names, types, tags and dates are readable; no value is in it"
            yield remark(SEALING, words, "Set encrypt = true, if names are confidential.").on(
                policy=policy.name
            )


def _some(full: Iterable[Demands]) -> Iterator[Finding]:
    """Look for what one policy of all has to be."""
    offline = [policy.name for policy in full if policy.offline]
    if offline:
        yield good(OFFLINE, f"{', '.join(offline)}: on media that lie offline")
    else:
        yield remark(
            OFFLINE,
            "no backup lies offline",
            "Add a policy with offline = true (docs/how-to/make-an-emergency-backup.md).",
        )
    erasable = [policy.name for policy in full if policy.erasable]
    if erasable:
        yield good(ERASURE, f"{', '.join(erasable)}: can be shredded before its time, and that is proven")
    else:
        words = "no policy is erasable: what is in a backup stays until its retention ends"
        yield remark(ERASURE, words, "If somebody may demand erasure, see docs/how-to/shred-a-backup.md.")


def _monitoring(told: int) -> Finding:
    if told:
        return good(
            MONITORING, f"{plural(told, 'route')} by which people are notified when something is wrong"
        )
    return _unmet(
        MONITORING,
        "nobody is notified when something is wrong",
        "Set alerts.email or [routes.NAME]: docs/how-to/notify-people.md.",
    )


def _unmet(check: str, words: str, hint: str) -> Finding:
    return wrong(check, RequirementUnmet(words, hint=hint))
