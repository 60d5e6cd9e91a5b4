"""verify: read a container back from a target, to a stated depth.

Each depth includes those before it, and the result names the depth that was reached: no
more is claimed than was looked at (invariant 2).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from strongroom.container.digests import ValueDigester, value_digester
from strongroom.container.errors import MissingPiece, Tampered, VerificationFailed
from strongroom.container.manifest import ContainerEntry, Manifest, parse_manifest
from strongroom.container.metadata import ManifestPlace, check_document
from strongroom.errors import SourceError, StrongroomError
from strongroom.keys import Opener
from strongroom.model import Depth, Secret, prepare
from strongroom.operations import run_integrity
from strongroom.operations.archive.live_comparison import Digests, SecretState, beside, digests_of, standing
from strongroom.operations.archive.newest_envelope import Elsewhere, Newest
from strongroom.operations.archive.open import (
    Backup,
    ObjectReader,
    read_manifest,
    readable_container,
    require_digest,
    require_size,
)
from strongroom.operations.backup.facts import replica_facts
from strongroom.operations.backup.quorum import with_wake
from strongroom.operations.identities import openers
from strongroom.operations.layout import manifest_name
from strongroom.operations.runs.job import StepAction, Where, read_result
from strongroom.operations.services import Services
from strongroom.sources import Source
from strongroom.state.records import Pool, Run, RunStep, StepConsequence, StepKind, StepRow, StepState, Tally
from strongroom.system.gc_pause import uncollected
from strongroom.targets import Target
from strongroom.targets.repaired import MOST_BYTES, Objects, copies, whole_copy
from strongroom.words import plural

ORDER = (Depth.PRESENT, Depth.DIGEST, Depth.OPENED, Depth.COMPARED, Depth.LIVE)


def reaches(depth: Depth, wanted: Depth) -> bool:
    """Tell whether verifying to ``depth`` includes ``wanted``."""
    return ORDER.index(depth) >= ORDER.index(wanted)


class ReadableTarget(Objects, Protocol):
    """A target, as far as it is read."""

    @property
    def name(self) -> str: ...


class ReadBackFindings(NamedTuple):
    """The findings of reading a container back.

    ``changed`` secrets have other values in the source by now, and ``missing`` ones are not there.
    ``name_key`` is the digest of the container's key for names, empty unless it was opened. All containers of
    a backup must have the same.
    """

    changed: int = 0
    missing: int = 0
    name_key: str = ""


class Verified(Struct, frozen=True, kw_only=True):
    """A container that was read back whole. ``aside`` names objects next to it that do not count;
    ``changed``, ``missing`` and ``name_key`` are those of :class:`Seen`."""

    depth: Depth
    secrets: int
    changed: int
    missing: int
    name_key: str
    aside: tuple[str, ...]


prepare(Verified)


@uncollected()
def verify(run: Run, step: RunStep, services: Services) -> Verified:
    """Verify one container on one target to the run's depth."""
    target = run_integrity.check_target(run, step.target, services)
    manifest = recorded_manifest(run, target, services)
    ref = manifest.containers[step.piece]
    others = [services.target(name) for name in _reached_targets(run, services) if name != target.name]
    aside = check_envelope(target, manifest, ref, others, services)
    depth = deepest(manifest, run.spec.depth)
    seen = read_container(
        target, manifest, ref, depth=depth, opening=lambda: openers(run.spec, services), services=services
    )
    return Verified(
        depth=depth,
        secrets=ref.secrets,
        changed=seen.changed,
        missing=seen.missing,
        name_key=seen.name_key,
        aside=aside,
    )


def read_verified(run: Run, services: Services) -> list[tuple[StepRow, Verified]]:
    """Return the containers of a run that were read back whole, with their rows."""
    rows = services.store.rows(run.id, StepKind.VERIFY)
    return [(row, read_result(run, row.step, row.result, Verified)) for row in rows if row.result]


def deepest(manifest: Manifest, wanted: Depth) -> Depth:
    """Return how deep to look: a document that is not sealed has no digests of values."""
    return wanted if manifest.sealed else min(wanted, Depth.OPENED, key=ORDER.index)


def check_envelope(
    target: ReadableTarget,
    manifest: Manifest,
    ref: ContainerEntry,
    others: Iterable[Objects],
    services: Services,
) -> tuple[str, ...]:
    """Refuse a replica whose envelope is older than another target's: whoever restores from it
    would need a key that was rotated away. Return what was left aside there."""
    if not manifest.sealed:
        return ()
    trusted = services.signer_fingerprints
    newest = Newest(target, trusted=trusted, known=Elsewhere(others, trusted=trusted))
    newest.of(ref.wrapping_key)
    return tuple(f"{copy.name} ({copy.code})" for copy in newest.aside)


def _reached_targets(run: Run, services: Services) -> list[str]:
    """Return the targets that this run could upload to: each process would wait for the others anew."""
    tally = services.store.tally(run.id)
    names = [pin.name for pin in run.spec.targets]
    return [name for name in names if not tally.of(StepKind.UPLOAD, target=name, states=(StepState.MISSED,))]


def recorded_manifest(run: Run, target: Target, services: Services) -> Manifest:
    """Read a target's manifest of the run's backup; it must be the one on record."""
    backup, trusted = run.spec.backup or run.id, services.signer_fingerprints
    expected = replica_facts(run).manifest
    if expected is None:
        return read_manifest(target, backup, trusted=trusted)
    return held_manifest(target, backup, expected, trusted=trusted)


def held_manifest(target: ReadableTarget, backup: str, digest: str, *, trusted: frozenset[str]) -> Manifest:
    """Read a target's manifest of a backup, and hold it to its digest (hex)."""
    name = manifest_name(backup)
    copy = whole_copy(target, name, sha256=bytes.fromhex(digest))
    if copy is None and not copies(target, name):
        raise MissingPiece(f"target '{target.name}' lacks the manifest of {backup}")
    if copy is None:
        raise Tampered(f"target '{target.name}' holds another manifest of {backup} than was recorded")
    return parse_manifest(b"".join(target.read(copy, length=MOST_BYTES)), trusted=trusted)


def read_container(
    target: Objects,
    manifest: Manifest,
    ref: ContainerEntry,
    *,
    depth: Depth,
    opening: Callable[[], Sequence[Opener]],
    services: Services,
) -> ReadBackFindings:
    """Read one container back to a depth; raise a typed error that says what is wrong with it.

    That the source has secrets otherwise by now (depth ``live``) is news about the source, and no fault of
    the replica. The bytes come first: where nothing opens them, damage
    is found all the same.

    Args:
        opening: returns what opens containers, or raises NothingOpens. It is asked once the bytes are right.
    """
    name = readable_container(target, manifest.backup_id, ref)
    require_size(target, name, ref)
    if reaches(depth, Depth.DIGEST):
        require_digest(target, name, ref)
    if not reaches(depth, Depth.OPENED):
        return ReadBackFindings()
    if manifest.sealed:
        opened = Backup(
            target, manifest, opening(), trusted=services.signer_fingerprints, names={ref.sha256: name}
        )
        return _open_all(opened, ref, depth, services)
    check_document(ObjectReader(target, name), place=ManifestPlace(manifest, ref))
    return ReadBackFindings()


def _open_all(backup: Backup, ref: ContainerEntry, depth: Depth, services: Services) -> ReadBackFindings:
    manifest = backup.manifest
    container = backup.container(ref)
    digest = value_digester(services.digest_key, manifest.source)
    kept = dict(container.digested())
    seen = 0
    for secret in container.secrets():
        seen += 1
        if reaches(depth, Depth.COMPARED):
            _compare(secret, kept.get(secret.name, {}), digest)
    if seen != ref.secrets:
        raise VerificationFailed(
            f"container {ref.piece} holds {plural(seen, 'secret')}, its manifest says {ref.secrets}"
        )
    name_key = hashlib.sha256(container.about.name_key).hexdigest()
    if not reaches(depth, Depth.LIVE):
        return ReadBackFindings(name_key=name_key)
    stands = _stand(kept, services.source(manifest.source), digest)
    return ReadBackFindings(stands[SecretState.CHANGED], stands[SecretState.MISSING], name_key)


def _compare(secret: Secret, kept: Digests, digest: ValueDigester) -> None:
    for number, value in digests_of(secret, digest).items():
        if kept.get(number) != value:
            raise VerificationFailed(
                f"secret '{secret.name}' version {number} is not the value that was captured"
            )


def _stand(kept: Mapping[str, Digests], source: Source, digest: ValueDigester) -> Counter[SecretState]:
    """Count how the secrets of a container stand in the source.

    Raises:
        SourceError: it did not answer, or did not give one of them. It says nothing of the backup.
    """
    stands = Counter[SecretState]()
    for _, digests, live in beside(source, kept.items()):
        if isinstance(live, StrongroomError):
            raise SourceError(f"the source could not be compared with: {live.message}")
        stands[standing(live, digests, digest)] += 1
    return stands


# -- as steps of a job ---------------------------------------------------------------

VERIFY = StepAction(verify, Verified, Pool.VERIFY, tolerated=True, where=Where.FORKED)
REPORT = RunStep(StepKind.REPORT)


def verifications(pieces: int, targets: Sequence[str]) -> tuple[RunStep, ...]:
    """Return the steps that read each container back from these targets."""
    return tuple(RunStep(StepKind.VERIFY, piece, target) for target in targets for piece in range(pieces))


def report_when_settled(run: Run, tally: Tally, step: RunStep) -> StepConsequence:
    """Go on to the report once every container was read back, or given up."""
    verdict = StepConsequence() if tally.unsettled(StepKind.VERIFY) else StepConsequence(follow=(REPORT,))
    return with_wake(verdict, run, tally, step)
