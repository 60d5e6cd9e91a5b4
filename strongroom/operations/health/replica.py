"""One replica, read: its manifest, its bytes to a depth, its lock, and what its envelopes open for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from strongroom.container.errors import MissingPiece, Tampered
from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.model import Depth
from strongroom.operations.archive.current_recipients import readers_now
from strongroom.operations.archive.envelopes import wrapping_keys
from strongroom.operations.archive.locks import LockingTarget, lock_until
from strongroom.operations.archive.newest_envelope import Elsewhere, Newest
from strongroom.operations.archive.open import readable_container
from strongroom.operations.archive.read_back import ORDER, ReadBackKeys, read_back
from strongroom.operations.errors import RunDegraded
from strongroom.operations.facts.records import AlertLimits, Dated
from strongroom.operations.findings import Finding, unknown, wrong
from strongroom.operations.key_management.usage import Opens, opens
from strongroom.operations.layout import manifest_name
from strongroom.operations.services import Services
from strongroom.state.records import CatalogEntry
from strongroom.targets import Locking, Target
from strongroom.targets.repaired import MOST_BYTES, copies, whole_copy
from strongroom.words import plural, verb

ACCESS, INTEGRITY, ENCRYPTION = "accessibility", "integrity", "encryption"
CHECKS = (ACCESS, INTEGRITY, ENCRYPTION)
ROUNDING = timedelta(days=1)
"""A cap counts from the moment of locking, which came after the backup's own time."""

Entering = Callable[[Target, Manifest, Depth], AbstractContextManager[None]]
"""Puts on record what comes of reading a replica back to a depth."""


@dataclass(frozen=True, kw_only=True)
class CheckingMeans:
    """With what replicas are checked.

    Args:
        checks: which of :data:`CHECKS`.
        depth: how deep replicas are read back for their integrity; see :func:`reached`.
        identities: what opens them, asked for once before all threads.
        entering: see :data:`Entering`.
        limits: from when on keys are too old.
        caps: how many days a target locks at most, where its administrator says so.
        used: since when keys are sealed to, as facts have it.
        progress: called with 1 for each replica that was checked.
    """

    services: Services
    checks: frozenset[str]
    depth: Depth
    entering: Entering
    identities: Sequence[Opener] = ()
    limits: AlertLimits = field(default_factory=AlertLimits)
    caps: Mapping[str, int] = field(default_factory=dict)
    used: Sequence[Dated] = ()
    progress: Callable[[int], object] = lambda _: None


@dataclass(frozen=True, kw_only=True)
class ExpectedReplicas:
    """A backup that is to be on some targets, locked there for at least so many days. It is on record on
    ``strange`` ones too, which are not configured."""

    entry: CatalogEntry
    targets: tuple[str, ...]
    minimum_retention_days: int
    strange: tuple[str, ...] = ()


def manifest_of(target: Target, entry: CatalogEntry, means: CheckingMeans) -> Manifest:
    """Return the very manifest that is on record, held to its signature."""
    name = manifest_name(entry.backup)
    found = whole_copy(target, name, sha256=bytes.fromhex(entry.manifest_sha256))
    if found is None and not copies(target, name):
        raise MissingPiece(f"target '{target.name}' does not have it: no manifest is there")
    if found is None:
        raise Tampered(f"target '{target.name}' holds another manifest than is on record")
    return parse_manifest(
        b"".join(target.read(found, length=MOST_BYTES)), trusted=means.services.signer_fingerprints
    )


def read(
    target: Target, manifest: Manifest, means: CheckingMeans, known: Elsewhere
) -> tuple[StrongroomError | None, StrongroomError | None]:
    """Read a replica back, once, and have it put on record; return what was wrong with its presence, and
    what with its bytes. What is not all there is not sound either."""
    deep = reached(manifest, means) if INTEGRITY in means.checks else Depth.PRESENT
    access: StrongroomError | None = None
    try:
        with means.entering(target, manifest, deep):
            access = _attempt(lambda: read_back(target, manifest, Depth.PRESENT, ReadBackKeys()))
            if access is not None:
                raise access
            if deep is not Depth.PRESENT:
                read_back(target, manifest, deep, _keys(means))
                _refuse_old_envelopes(target, manifest, means, known)
    except StrongroomError as error:
        return access, error
    return None, None


def _attempt(work: Callable[[], object]) -> StrongroomError | None:
    try:
        work()
    except StrongroomError as error:
        return error
    return None


def _keys(means: CheckingMeans) -> ReadBackKeys:
    services = means.services
    return ReadBackKeys(
        identities=means.identities,
        digest_key=services.digest_key or None,
        trusted=services.signer_fingerprints,
    )


def reached(manifest: Manifest, means: CheckingMeans) -> Depth:
    """Return how deep a replica can be read: what nothing here opens to its digests, and a document that is
    not sealed, which has no digests of values, no deeper than it opens."""
    if manifest.sealed:
        return means.depth if means.identities else min(means.depth, Depth.DIGEST, key=ORDER.index)
    return min(means.depth, Depth.OPENED, key=ORDER.index)


def _refuse_old_envelopes(target: Target, manifest: Manifest, means: CheckingMeans, known: Elsewhere) -> None:
    """Raise Stale if another target has a newer envelope: who restores here would need a key rotated away."""
    newest = Newest(target, trusted=means.services.signer_fingerprints, known=known)
    for key in wrapping_keys(manifest):
        newest.of(key)


def locked(
    target: Target, manifest: Manifest, expected: ExpectedReplicas, means: CheckingMeans
) -> Iterator[Finding]:
    """Hold the locks of all objects to what the policy keeps, or as far as the target's own cap."""
    demanded = lock_until(manifest, expected.minimum_retention_days)
    if (cap := means.caps.get(target.name)) is not None:
        demanded = min(demanded, datetime.fromisoformat(manifest.created_at) + timedelta(days=cap))
    if not (isinstance(target, Locking) and target.locks) or demanded < datetime.now(UTC):
        return
    try:
        ends = list(_ends(target, manifest))
    except StrongroomError as error:
        yield unknown(ACCESS, error)
        return
    if early := [end for end in ends if end is None or end < demanded - ROUNDING]:
        yield wrong(ACCESS, _unlocked(manifest.backup_id, early, len(ends), demanded))


def _ends(target: LockingTarget, manifest: Manifest) -> Iterator[datetime | None]:
    for entry in manifest.containers:
        yield target.locked_until(readable_container(target, manifest.backup_id, entry))
    yield target.locked_until(manifest_name(manifest.backup_id))


def _unlocked(backup: str, early: Sequence[datetime | None], total: int, demanded: datetime) -> RunDegraded:
    first = min((end for end in early if end is not None), default=None)
    until = f"not locked beyond {first:%Y-%m-%d}" if first and None not in early else "not locked"
    return RunDegraded(
        f"whole, but {len(early):,} of {plural(total, 'object')} {verb(len(early), 'are')} {until}; "
        f"the policy demands {demanded:%Y-%m-%d}",
        hint=f"It can be deleted before its time: 'strongroom backups repair {backup}' locks it; "
        "'strongroom check rights' names a missing right.",
    )


def opens_now(target: Target, manifest: Manifest, means: CheckingMeans) -> tuple[Manifest, Opens | None]:
    """Return whom a replica opens for, by its newest envelopes on this very target."""
    alone = replace(means.services, targets={target.name: target})
    now = readers_now(target, manifest, trusted=alone.signer_fingerprints)
    return now, opens(alone, manifest.backup_id)
