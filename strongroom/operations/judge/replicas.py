"""Replicas as they lie on the targets now: there, whole to a depth, locked, and sealed for whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from msgspec import structs

from strongroom.container.errors import DAMAGE, MissingPiece, Tampered
from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.model import Depth
from strongroom.operations.archive.envelopes import Elsewhere, Newest, readers_now, wrapping_keys
from strongroom.operations.archive.inventory import LostReplica, put_on_record
from strongroom.operations.archive.open import ORDER, ReadBackKeys, backup_ids, read_back, readable_container
from strongroom.operations.archive.removal import lock_until
from strongroom.operations.engine.findings import Finding, finding_of_error, good, remark, unknown, wrong
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import NothingOpens, RunDegraded
from strongroom.operations.judge.fact_records import AlertLimits, Dated
from strongroom.operations.keys.usage import Opens, opens
from strongroom.state.records import CatalogEntry
from strongroom.targets import Target
from strongroom.targets.reading import MOST_BYTES, copies, whole_copy
from strongroom.words import plural, verb

# -- One replica, read: its manifest, its bytes to a depth, its lock, and what its envelopes open for


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
    if not target.locks or demanded < datetime.now(UTC):
        return
    try:
        ends = list(_ends(target, manifest))
    except StrongroomError as error:
        yield unknown(ACCESS, error)
        return
    if early := [end for end in ends if end is None or end < demanded - ROUNDING]:
        yield wrong(ACCESS, _unlocked(manifest.backup_id, early, len(ends), demanded))


def _ends(target: Target, manifest: Manifest) -> Iterator[datetime | None]:
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


# -- Replicas as they lie on the targets now: there, whole to a depth, locked, and sealed for whom ---
#
# Each target is looked at in a thread of its own: one that is dead costs its own patience, and hides
# nothing of the others.


AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class ReplicaFindings:
    """What was seen of one replica. ``whole`` tells that all of it is there in its right size. ``manifest``
    names whom its newest envelopes open for, ``opens`` has those; without a manifest that was not asked, or
    could not be read."""

    backup: str
    target: str
    findings: tuple[Finding, ...]
    whole: bool = False
    manifest: Manifest | None = None
    opens: Opens | None = None


def inspect_replicas(
    wanted: Sequence[ExpectedReplicas], means: CheckingMeans
) -> tuple[list[ReplicaFindings], list[Finding]]:
    """Look at every replica; return what was seen of each, and of the targets as such."""
    names = list(dict.fromkeys(name for expected in wanted for name in expected.targets))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        asked = dict(zip(names, threads.map(lambda name: _asked(name, means), names), strict=True))
        silent = {name for name in names if isinstance(asked[name], StrongroomError)}
        answering = {name: means.services.target(name) for name in names if name not in silent}
        looked = list(threads.map(lambda name: _target(name, asked[name], wanted, means, answering), names))
    strange = _strange(asked, means) if ACCESS in means.checks else ()
    return [seen for many in looked for seen in many], list(strange)


def _asked(name: str, means: CheckingMeans) -> frozenset[str] | StrongroomError:
    """Return the backups that a target shows, or why it does not answer."""
    try:
        return frozenset(backup_ids(means.services.target(name)))
    except StrongroomError as error:
        return error


def _strange(
    asked: Mapping[str, frozenset[str] | StrongroomError], means: CheckingMeans
) -> Iterator[Finding]:
    """Say which targets have backups that are on no record: then the catalog was lost, or cut."""
    known = _on_record(means)
    for name, there in asked.items():
        if isinstance(there, StrongroomError) or not (strange := there - known):
            continue
        words = f"it has {plural(len(strange), 'backup')} that the catalog does not know: {_some(strange)}"
        hint = f"'strongroom backups rebuild --from {name}' enters those that this installation signed."
        yield remark(ACCESS, words, hint).on(target=name)


def _on_record(means: CheckingMeans) -> frozenset[str]:
    """Return the backups that the catalog knows, and those that are being made: a manifest comes first."""
    store = means.services.store
    made = (entry.backup for entry in store.backups())
    return frozenset([*made, *(run.id for run in store.active())])


def _some(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")


# -- one target ----------------------------------------------------------------


def _target(
    name: str,
    asked: frozenset[str] | StrongroomError,
    wanted: Sequence[ExpectedReplicas],
    means: CheckingMeans,
    answering: Mapping[str, Target],
) -> list[ReplicaFindings]:
    mine = [expected for expected in wanted if name in expected.targets]
    if isinstance(asked, StrongroomError):
        return [_silent(name, expected, asked, means) for expected in mine]
    others = [target for other, target in answering.items() if other != name]
    known = Elsewhere(others, trusted=means.services.signer_fingerprints)
    return [_seen(name, expected, means, known) for expected in mine]


def _silent(
    name: str, expected: ExpectedReplicas, error: StrongroomError, means: CheckingMeans
) -> ReplicaFindings:
    """Say of a target that does not answer: that is wrong by itself, and no more is known."""
    means.progress(1)
    findings = [wrong(ACCESS, error)] if ACCESS in means.checks else []
    findings += [unknown(check, error) for check in (INTEGRITY, ENCRYPTION) if check in means.checks]
    return _of(name, expected, findings)


def _seen(name: str, expected: ExpectedReplicas, means: CheckingMeans, known: Elsewhere) -> ReplicaFindings:
    try:
        target = means.services.target(name)
        manifest = manifest_of(target, expected.entry, means)
    except StrongroomError as error:
        if isinstance(error, DAMAGE):
            _enter(name, expected, error, means)
        return _of(name, expected, [_lacking(check, error) for check in CHECKS if check in means.checks])
    else:
        return _replica(target, manifest, expected, means, known)
    finally:
        means.progress(1)


def _enter(name: str, expected: ExpectedReplicas, error: StrongroomError, means: CheckingMeans) -> None:
    """Have the record know that a manifest is missing, or another one: then it is repaired."""
    store = means.services.store
    replicas = [each for each in store.replicas(expected.entry.backup) if each.target == name and each.good]
    put_on_record(store, [LostReplica(each, f"{error.code}: {error.message}") for each in replicas])


def _of(name: str, expected: ExpectedReplicas, findings: Iterable[Finding]) -> ReplicaFindings:
    policy, backup = expected.entry.policy, expected.entry.backup
    said = tuple(_mended(each, backup).on(policy=policy, backup=backup, target=name) for each in findings)
    return ReplicaFindings(backup=backup, target=name, findings=said)


def _mended(finding: Finding, backup: str) -> Finding:
    mend = (
        f"'strongroom backups repair {backup}' copies it from a good replica. Until then restore from "
        "another."
    )
    return structs.replace(finding, to_do=mend) if finding.damage else finding


def _lacking(check: str, error: StrongroomError) -> Finding:
    """Say of a manifest that is missing, damaged or of a stranger; what it stands for is not looked at."""
    if check == ENCRYPTION:
        return unknown(check, error)
    return wrong(check, error)


def _replica(
    target: Target, manifest: Manifest, expected: ExpectedReplicas, means: CheckingMeans, known: Elsewhere
) -> ReplicaFindings:
    alone = means.checks == {ENCRYPTION}
    access, integrity = (None, None) if alone else read(target, manifest, means, known)
    findings: list[Finding] = []
    if ACCESS in means.checks:
        findings.append(wrong(ACCESS, access) if access else good(ACCESS, "answers, and has all of it"))
        findings += locked(target, manifest, expected, means)
    if INTEGRITY in means.checks:
        findings += [finding_of_error(INTEGRITY, integrity)] if integrity else sound(manifest, means)
    now, opened = None, None
    if ENCRYPTION in means.checks:
        try:
            now, opened = opens_now(target, manifest, means)
        except StrongroomError as error:
            findings.append(unknown(ENCRYPTION, error) if access else finding_of_error(ENCRYPTION, error))
    seen = _of(target.name, expected, findings)
    return replace(seen, whole=access is None, manifest=now, opens=opened)


def sound(manifest: Manifest, means: CheckingMeans) -> Iterator[Finding]:
    """Say how deep a replica was read back, and if it was to be deeper."""
    depth = reached(manifest, means)
    yield good(INTEGRITY, _SAYS[depth])
    if manifest.sealed and depth is not means.depth:
        words = f"it was to be read back to '{means.depth}', and nothing here opens it"
        hint = "Give what opens it (--identity, --passphrase-file), or do it where the private key is."
        yield unknown(INTEGRITY, NothingOpens(words, hint=hint))


_SAYS = {
    Depth.PRESENT: "present: all of it is there, in its right size; nothing was read",
    Depth.DIGEST: "digest: every byte is the one that was written",
    Depth.OPENED: "opened: every secret was decrypted and authenticated",
    Depth.COMPARED: "compared: every value equals the digest taken when it was captured",
}
