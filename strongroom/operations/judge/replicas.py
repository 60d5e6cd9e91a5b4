"""Replicas as they lie on the targets now: there, whole to a depth, locked, and sealed for whom.

Each target is looked at in a thread of its own: one that is dead costs its own patience, and hides
nothing of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from msgspec import structs

from strongroom.container.errors import DAMAGE
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.model import Depth
from strongroom.operations.archive.inventory import LostReplica, put_on_record
from strongroom.operations.archive.newest_envelope import Elsewhere
from strongroom.operations.archive.open import backup_ids
from strongroom.operations.errors import NothingOpens
from strongroom.operations.findings import Finding, finding_of_error, good, remark, unknown, wrong
from strongroom.operations.health.replica import (
    ACCESS,
    CHECKS,
    ENCRYPTION,
    INTEGRITY,
    CheckingMeans,
    ExpectedReplicas,
    locked,
    manifest_of,
    opens_now,
    reached,
    read,
)
from strongroom.operations.key_management.usage import Opens
from strongroom.targets import Target
from strongroom.words import plural

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
