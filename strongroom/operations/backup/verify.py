"""verify: read a container back from a target, to a stated depth; and what a run about replicas knows."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from msgspec import Struct, structs

from strongroom.container.cobblestone import ValueDigester, value_digester
from strongroom.container.errors import MissingPiece, Tampered, VerificationFailed
from strongroom.container.manifest import ContainerEntry, Counts, Manifest, parse_manifest
from strongroom.container.metadata import ManifestPlace, check_document
from strongroom.errors import SourceError, StrongroomError
from strongroom.keys import Opener
from strongroom.model import Depth, prepare
from strongroom.operations.archive import shredding as shredding_record
from strongroom.operations.archive.envelopes import Elsewhere, Newest
from strongroom.operations.archive.inventory import in_a_file, made_by_a_command
from strongroom.operations.archive.live_comparison import Digests, SecretState, beside, standing
from strongroom.operations.archive.open import (
    Backup,
    ObjectReader,
    open_all,
    read_manifest,
    readable_container,
    require_digest,
    require_size,
)
from strongroom.operations.archive.quarantine import on_record
from strongroom.operations.engine import integrity
from strongroom.operations.engine.jobs import StepAction, Where, read_facts, read_result
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import CachedManifest, Services, openers
from strongroom.sources import Source
from strongroom.state.errors import RecordRefused
from strongroom.state.records import (
    CatalogEntry,
    Pool,
    Run,
    RunKind,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    StepState,
    Tally,
)
from strongroom.system.process import uncollected
from strongroom.targets import Target
from strongroom.targets.reading import MOST_BYTES, Objects, copies, whole_copy
from strongroom.words import plural, verb

# -- What is known of a run that places and reads back replicas: a backup, a verification or a repair


class PlannedPieces(Struct, frozen=True, kw_only=True):
    """How many containers a backup has."""

    pieces: int


class ReplicaFacts(Struct, frozen=True, kw_only=True):
    """What such a run found out; each fact is there from the step on that finds it out.

    ``manifest`` is the digest of the backup's manifest. A repair leaves targets alone that ``held`` a good
    replica by the record, and cannot ask the ``away`` ones. ``lacking`` names target and number of each
    container to copy. ``doubted`` are those that it reads on a replica of which the record vouches for the
    rest, since that was read not long ago. A verification says in ``unread`` why it could not ask a target.
    ``unplaced`` says why one did not take the manifest, ``unlocked`` why a replica is not locked. ``ending``
    is how a run ends that ends early.
    """

    plan: PlannedPieces | None = None
    manifest: str | None = None
    held: tuple[str, ...] = ()
    away: tuple[str, ...] = ()
    lacking: tuple[tuple[str, int], ...] = ()
    doubted: tuple[tuple[str, int], ...] = ()
    unread: Mapping[str, str] = {}
    unplaced: Mapping[str, str] = {}
    unlocked: Mapping[str, str] = {}
    counts: Counts | None = None
    ending: str | None = None

    def is_read_in_part(self, target: str) -> bool:
        """Tell whether only what is doubted of a replica is read."""
        return any(name == target for name, _ in self.doubted)

    def pieces_read(self, target: str) -> list[int]:
        """Return the numbers of the containers that are read back from a target."""
        doubted = [piece for name, piece in self.doubted if name == target]
        return doubted or list(range(self.plan.pieces if self.plan else 0))


prepare(ReplicaFacts)


def replica_facts(run: Run) -> ReplicaFacts:
    """Return what is known of such a run."""
    return read_facts(run, ReplicaFacts)


def has_manifest(run: Run) -> bool:
    """Tell whether a run's record names a manifest. Any value counts: doubt removes nothing."""
    return "manifest" in run.facts


def pieces_of(run: Run) -> int:
    """Return how many containers the backup has that a run makes or is about."""
    plan = replica_facts(run).plan
    if plan is None:
        raise RecordRefused(f"run {run.id} has no plan on record")
    return plan.pieces


# -- The policy's quorum: which targets count towards it, and what it still lacks. Pure ---------


def complete_targets(
    spec: Spec, tally: Tally, pieces: int, *, kind: StepKind = StepKind.UPLOAD
) -> tuple[str, ...]:
    """Name the targets that are through with a kind of step: after the uploads, those that hold
    every container."""
    return tuple(
        pin.name
        for pin in spec.targets
        if tally.of(kind, target=pin.name, states=(StepState.DONE,)) == pieces
    )


def missing_from_quorum(spec: Spec, held: tuple[str, ...]) -> str | None:
    """Say what the targets in ``held`` lack to make a backup, or ``None``.

    A target in the source's own failure domain never counts: it is lost with the source.
    """
    counting = [pin for pin in spec.targets if pin.name in held and pin.counts]
    counts = {
        "target": (len(counting), spec.quorum),
        "region": (len({pin.region for pin in counting}), spec.regions),
        "provider": (len({pin.provider for pin in counting}), spec.providers),
    }
    for what, (have, demanded) in counts.items():
        if have < demanded:
            of = f"{have} of the {plural(demanded, what)} that the policy demands"
            return f"{of} {verb(have, 'hold')} the whole backup"
    return None


def quorum_is_open(run: Run, tally: Tally, step: RunStep) -> bool:
    """Tell whether the targets that are through with this kind of step do not make a backup yet."""
    through = complete_targets(run.spec, tally, pieces_of(run), kind=step.kind)
    return missing_from_quorum(run.spec, through) is not None


def needs_target(run: Run, tally: Tally, step: RunStep) -> bool:
    """Tell whether the quorum cannot be met without this step's target: too many others gave up a piece."""
    sound = (
        pin.name
        for pin in run.spec.targets
        if pin.name != step.target and not tally.of(step.kind, target=pin.name, states=(StepState.MISSED,))
    )
    return missing_from_quorum(run.spec, tuple(sound)) is not None


def with_wake(verdict: StepConsequence, run: Run, tally: Tally, step: RunStep) -> StepConsequence:
    """End the pauses of a kind of step if it is this step with which the policy's quorum is met.

    A resting region was waited for until now. Tried once more, it answers or is given up at once.
    """
    return structs.replace(verdict, wake=(step.kind,)) if _meets_quorum(run, tally, step) else verdict


def _meets_quorum(run: Run, tally: Tally, step: RunStep) -> bool:
    if not tally.unsettled(step.kind):
        return False
    through = complete_targets(run.spec, tally, pieces_of(run), kind=step.kind)
    before = tuple(name for name in through if name != step.target)
    lacked = missing_from_quorum(run.spec, before) is not None
    return lacked and missing_from_quorum(run.spec, through) is None


# -- verify: read a container back from a target, to a stated depth -----------------------------
#
# Each depth includes those before it, and the result names the depth that was reached: no
# more is claimed than was looked at (invariant 2).


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
    target = integrity.check_target(run, step.target, services)
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
    """Read a target's manifest of the run's backup; it must be the one on record.

    A process does so once a minute, run and target. Each step of a backup of many containers would read as
    much, and check as many signatures, as there are containers: of 20,000 that is as much as the data. But a
    run may be retried days later, and what a target had then is no proof of what it has.
    """
    backup, trusted = run.spec.backup or run.id, services.signer_fingerprints
    expected = replica_facts(run).manifest
    if expected is None:
        return read_manifest(target, backup, trusted=trusted)
    held, key = services.held_manifests, (run.id, target.name, expected)
    known, now = held.get(key), time.monotonic()
    # Who counts now is asked anew, whatever they have in common.
    if known is None or known.trusted is not trusted or now - known.read_at >= HOLDS_SECONDS:
        parsed = [
            other.manifest
            for (*_, digest), other in list(held.items())
            if digest == expected and other.trusted is trusted
        ]
        # One in memory for all targets of a run. The very same bytes say the same, and as many signatures as
        # there are containers are not checked again for each target and minute.
        manifest = held_manifest(target, backup, expected, trusted=trusted, parsed=next(iter(parsed), None))
        known = CachedManifest(trusted=trusted, manifest=manifest, read_at=now)
        held.pop(key, None)
        while len(held) >= HELD_MANIFESTS:
            held.pop(next(iter(held), key), None)
        held[key] = known
    return known.manifest


HELD_MANIFESTS = 8
"""Manifests that a process keeps, each of a run and a target."""
HOLDS_SECONDS = 60.0
"""How long it does so before it reads the target's own again."""


def held_manifest(
    target: ReadableTarget,
    backup: str,
    digest: str,
    *,
    trusted: frozenset[str],
    parsed: Manifest | None = None,
) -> Manifest:
    """Read a target's manifest of a backup, and hold it to its digest (hex).

    Args:
        parsed: what the bytes of this digest say, if that is known for the same ``trusted``.
    """
    name = manifest_name(backup)
    copy = whole_copy(target, name, sha256=bytes.fromhex(digest))
    if copy is None and not copies(target, name):
        raise MissingPiece(f"target '{target.name}' lacks the manifest of {backup}")
    if copy is None:
        raise Tampered(f"target '{target.name}' holds another manifest of {backup} than was recorded")
    return parsed or parse_manifest(b"".join(target.read(copy, length=MOST_BYTES)), trusted=trusted)


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
    compared = reaches(depth, Depth.COMPARED)
    seen = open_all(container, digest_key=services.digest_key if compared else None)
    if seen != ref.secrets:
        raise VerificationFailed(
            f"container {ref.piece} holds {plural(seen, 'secret')}, its manifest says {ref.secrets}"
        )
    name_key = hashlib.sha256(container.about.name_key).hexdigest()
    if not reaches(depth, Depth.LIVE):
        return ReadBackFindings(name_key=name_key)
    digest = value_digester(services.digest_key, manifest.source)
    stands = _stand(dict(container.digested()), services.source(manifest.source), digest)
    return ReadBackFindings(stands[SecretState.CHANGED], stands[SecretState.MISSING], name_key)


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


# -- What a run about an existing backup is to do: at its policy's targets, to its policy's quorum ---


_IDS = "Give the id of a backup, and no policy: 'strongroom backups list' shows them."


def spec_about(services: Services, kind: RunKind, backup: str, **fields: Any) -> Spec:
    """Return the spec of a run about an existing backup.

    Raises:
        BackupShredded: nothing brings it up or back.
        UsageError: a command made it: no policy says where it belongs.
    """
    shredding_record.check(services.store, backup, services.signer_fingerprints)
    entry = services.store.backup(backup)
    if entry is None:
        raise MissingPiece(f"the catalog has no backup '{backup}'", hint=_IDS)
    if in_a_file(entry):
        raise made_by_a_command(services, backup)
    about = {"source": entry.source, "values": entry.values, "backup": backup}
    return spec_of_policy(services, kind, entry.policy, **about, **fields)


def spec_of_policy(services: Services, kind: RunKind, policy: str, **fields: Any) -> Spec:
    """Return the spec of a run about the backups of a policy."""
    pinned = services.pinned(policy).spec
    return Spec(
        kind=kind,
        policy=policy,
        sealed=pinned.sealed,
        targets=pinned.targets,
        recipients=pinned.recipients,
        quorum=pinned.quorum,
        regions=pinned.regions,
        providers=pinned.providers,
        minimum_retention_days=pinned.minimum_retention_days,
        stage=pinned.stage,
        **fields,
    )


def newest(services: Services, policy: str) -> str:
    """Return the id of a policy's newest backup that is to be kept, and may be restored from."""
    backup = newest_if_any(services, policy)
    if backup is None:
        hint = f"Make one: 'strongroom backup --policy {policy}'."
        raise MissingPiece(f"there is no backup of policy '{policy}' yet", hint=hint)
    return backup


def newest_if_any(services: Services, policy: str) -> str | None:
    """As :func:`newest`; ``None`` if there is none."""
    return next((entry.backup for entry in restorable(services, policy)), None)


def had_backup(services: Services, policy: str, moment: float) -> bool:
    """Tell whether a policy had a backup at a moment (epoch seconds) that may still be restored from."""
    made = (datetime.fromisoformat(entry.created_at) for entry in restorable(services, policy))
    return any(made_at.timestamp() <= moment for made_at in made)


def restorable(services: Services, policy: str) -> Iterator[CatalogEntry]:
    """Yield a policy's backups that may be restored from, the newest first."""
    shredding = shredding_record.shredded_backups(services.store, services.signer_fingerprints)
    aside = shredding | on_record(services.store).keys()
    yield from (entry for entry in services.store.backups(policy=policy) if entry.backup not in aside)
