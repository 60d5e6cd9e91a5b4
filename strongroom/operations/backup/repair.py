"""repair: bring replicas that were missed or damaged up again, from any good one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

from msgspec import Struct, field

from strongroom.container.errors import DAMAGE, FormatError, MissingPiece
from strongroom.container.manifest import ContainerEntry, Manifest, parse_manifest
from strongroom.errors import StrongroomError
from strongroom.model import prepare
from strongroom.operations import recorded_errors, run_integrity
from strongroom.operations.archive.choice import lacking_on
from strongroom.operations.archive.deletions import deleted_from
from strongroom.operations.archive.envelopes import wrapping_keys
from strongroom.operations.archive.first_answer import first_answer
from strongroom.operations.archive.index_keys import IndexKeys
from strongroom.operations.archive.locks import left_unlocked, lock_replicas
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.archive.write_envelope import bring_up
from strongroom.operations.backup.commit import check_containers
from strongroom.operations.backup.facts import PlannedPieces
from strongroom.operations.backup.upload import place
from strongroom.operations.backup.verify import recorded_manifest
from strongroom.operations.layout import container_name, manifest_name
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.operations.trust_lists.spread import put_lists
from strongroom.operations.verification.checks import pieces_read
from strongroom.operations.verification.order import MANIFEST
from strongroom.state.errors import StateUnavailable
from strongroom.state.records import Run, RunStep, StepKind, StepState
from strongroom.targets import Target
from strongroom.targets.repaired import whole_copy

BY_RECORD = {"by_record": True}
"""Options of a repair that reads only what is on record as bad: it comes hourly, and reading costs money.
Of a replica of which verification named what is damaged, it reads no more than that."""


class ToVerify(Struct, frozen=True, kw_only=True):
    """The facts that a verification begins with: which targets hold the manifest, and why others could not be
    asked. These may hold it too."""

    plan: PlannedPieces
    manifest: str
    present: tuple[str, ...]
    unread: Mapping[str, str]


class ToRepair(Struct, frozen=True, kw_only=True):
    """The facts that a repair begins with: which replicas stay as they are on record, which targets do not
    answer or are not to have it any more, what is missing where, and what is read of a replica that is not
    read whole.

    ``idle``: there is nowhere to write anything, so nothing is read either.
    """

    plan: PlannedPieces
    manifest: str
    held: tuple[str, ...]
    away: tuple[str, ...]
    lacking: tuple[tuple[str, int], ...]
    idle: bool
    doubted: tuple[tuple[str, int], ...] = ()


class Repaired(Struct, frozen=True, kw_only=True):
    """A container that was copied from another target."""

    source: str = field(name="from")


class PublishedManifest(Struct, frozen=True, kw_only=True):
    """Which targets hold the manifest now, why others do not, and why a replica is not locked."""

    targets: tuple[str, ...]
    unplaced: Mapping[str, str]
    unlocked: Mapping[str, str]


prepare(ToVerify, ToRepair, Repaired, PublishedManifest)


def list_to_verify(run: Run, step: RunStep, services: Services) -> ToVerify:
    """Find the backup's manifest, and which targets hold it. The next steps compare the digests."""
    digest, manifest = _find_manifest(run, services)
    present: list[str] = []
    unread: dict[str, str] = {}
    for pin in run.spec.targets:
        try:
            target = services.target(pin.name)
            if whole_copy(target, manifest_name(run.spec.backup), sha256=bytes.fromhex(digest)) is not None:
                present.append(pin.name)
        except DAMAGE:
            continue
        except StrongroomError as error:
            unread[pin.name] = f"{error.code}: {recorded_errors.error_text(error)}"
    return ToVerify(plan=_count_pieces(manifest), manifest=digest, present=tuple(present), unread=unread)


def list_to_repair(run: Run, step: RunStep, services: Services) -> ToRepair:
    """Find the backup's manifest, and by digest what each target lacks of it."""
    digest, manifest = _find_manifest(run, services)
    good = _good_on_record(run, services)
    others = [pin.name for pin in run.spec.targets if pin.name not in good]
    away = tuple(name for name in others if not _takes(services.target(name), manifest.backup_id, services))
    answering = [name for name in others if name not in away]
    looked = {
        name: _look_at(name, manifest, _read_lately(run, name, services), services) for name in answering
    }
    unlocked = run.spec.backup in left_unlocked(services.store)
    return ToRepair(
        plan=_count_pieces(manifest),
        manifest=digest,
        held=good,
        away=away,
        lacking=tuple((name, piece) for name, lacks in looked.items() for piece in lacks.lacking),
        doubted=tuple((name, piece) for name, lacks in looked.items() for piece in lacks.doubted),
        idle=not answering and not unlocked,
    )


def _count_pieces(manifest: Manifest) -> PlannedPieces:
    return PlannedPieces(pieces=len(manifest.containers))


def _find_manifest(run: Run, services: Services) -> tuple[str, Manifest]:
    """Return the manifest on record with its digest; without a catalog, the first validly signed one."""
    manifests, refusals = _read_manifests(run, services)
    digest = _choose_digest(run, manifests, refusals, services)
    return digest, parse_manifest(manifests[digest], trusted=services.signer_fingerprints)


def _good_on_record(run: Run, services: Services) -> tuple[str, ...]:
    """Return the replicas that are good on record, if that is to count."""
    if run.spec.options != BY_RECORD:
        return ()
    good = {replica.target for replica in services.store.replicas(run.spec.backup) if replica.good}
    return tuple(pin.name for pin in run.spec.targets if pin.name in good)


def _takes(target: Target, backup: str, services: Services) -> bool:
    """Tell whether a target answers, and nobody deleted the backup from it on purpose."""
    try:
        target.stat(manifest_name(backup))
    except StrongroomError:
        return False
    return not deleted_from(target, backup, trusted=services.signer_fingerprints, now=time.time())


def repair(run: Run, step: RunStep, services: Services) -> Repaired:
    """Copy one container to one target from another that has it whole.

    A target that does not answer is passed over. It is an error only if no target has the container whole:
    then the error of one that may answer later, if there is one.
    """
    target = run_integrity.check_target(run, step.target, services)
    target.stat(manifest_name(run.spec.backup))  # one that is away costs no reading of the others

    def find(other: Target) -> tuple[Target, str, ContainerEntry]:
        entry = recorded_manifest(run, other, services).containers[step.piece]
        name = container_name(run.spec.backup, entry.sha256)
        whole = whole_copy(other, name, sha256=bytes.fromhex(entry.sha256), most=entry.size)
        if whole is None:
            raise MissingPiece(f"no target has container {step.piece} of {run.spec.backup} whole")
        return other, whole, entry

    others = _other_targets(run, step.target, services)
    other, whole, entry = first_answer(others, find, of=f"container {step.piece} of {run.spec.backup}")
    name = container_name(run.spec.backup, entry.sha256)
    place(target, name, partial(other.read, whole), size=entry.size, sha256=entry.sha256)
    return Repaired(source=other.name)


def publish(run: Run, step: RunStep, services: Services) -> PublishedManifest:
    """Write the manifest, last, on every target that now holds every container.

    Before it go the newest envelopes: without them a copy opens for keys that were rotated away.
    """
    run_integrity.check_time(run)
    facts = read_facts(run, ToRepair)
    digest = facts.manifest
    content = _read_manifests(run, services)[0][digest]
    _carry_envelopes(run, content, services)
    manifest = parse_manifest(content, trusted=services.signer_fingerprints)
    rows = services.store.rows(run.id, StepKind.REPAIR)
    if any(not row.state.settled for row in rows):
        raise StateUnavailable(f"the record shows copies of run {run.id} that have not ended")
    missed = {row.step.target for row in rows if row.state is not StepState.DONE}
    missed |= set(facts.away)
    whole = [pin.name for pin in run.spec.targets if pin.name not in missed]
    lists = services.signers("control").lists
    refusals = {
        name: _place_manifest(services.target(name), manifest, content, digest, lists) for name in whole
    }
    written = [name for name, why in refusals.items() if why is None]
    return PublishedManifest(
        targets=tuple(written),
        unplaced={name: why for name, why in refusals.items() if why is not None},
        unlocked=lock_replicas(run, manifest, written, services),
    )


def _carry_envelopes(run: Run, content: bytes, services: Services) -> None:
    trusted = services.signer_fingerprints
    manifest = parse_manifest(content, trusted=trusted)
    targets = {pin.name: services.target(pin.name) for pin in run.spec.targets}
    indexes = IndexKeys(targets, trusted=trusted).of(manifest)
    keys = [*wrapping_keys(manifest), *(index_key.record.id for index_key in indexes)]
    bring_up(list(targets.values()), keys, trusted=trusted)


def _place_manifest(
    target: Target, manifest: Manifest, content: bytes, digest: str, lists: Mapping[str, bytes]
) -> str | None:
    """Place the manifest; say why it could not be, if so."""
    name = manifest_name(manifest.backup_id)
    try:
        check_containers(target, manifest)
        put_lists(target, lists)
        place(target, name, lambda: [content], size=len(content), sha256=digest)
    except StrongroomError as error:
        return f"{error.code}: {error.message}"
    return None


def _read_manifests(run: Run, services: Services) -> tuple[dict[str, bytes], dict[str, StrongroomError]]:
    """Return the validly signed manifests by their digests, and why a target gave none."""
    manifests: dict[str, bytes] = {}
    refusals: dict[str, StrongroomError] = {}
    for pin in run.spec.targets:
        try:
            content = manifest_bytes(
                services.target(pin.name), run.spec.backup, trusted=services.signer_fingerprints
            )
        except StrongroomError as error:
            refusals[pin.name] = error
        else:
            manifests.setdefault(hashlib.sha256(content).hexdigest(), content)
    return manifests, refusals


def _choose_digest(
    run: Run, manifests: dict[str, bytes], refusals: dict[str, StrongroomError], services: Services
) -> str:
    entry = services.store.backup(run.spec.backup)
    if entry is not None and entry.manifest_sha256 in manifests:
        return entry.manifest_sha256
    if entry is None and manifests:
        return next(iter(manifests))
    raise _explain_no_manifest(run, refusals)


def _explain_no_manifest(run: Run, refusals: dict[str, StrongroomError]) -> StrongroomError:
    """Return why there is no manifest: none is whole, or a target that may have it did not answer."""
    what = f"the manifest of {run.spec.backup}"
    away = {name: error for name, error in refusals.items() if not isinstance(error, (FormatError, *DAMAGE))}
    if not away:
        # If copies are there and do not count, their error says more than that the manifest is missing.
        unsound = next((error for error in refusals.values() if not isinstance(error, MissingPiece)), None)
        kind = MissingPiece if unsound is None else type(unsound)
        detail = "" if unsound is None else f": {unsound.message}"
        return kind(f"no target has {what} whole and validly signed{detail}")
    first = next((error for error in away.values() if error.transient), next(iter(away.values())))
    message = f"no target could be asked for {what}"
    if len(away) < len(run.spec.targets):
        message = f"no target that could be asked has {what} whole and validly signed; the others may"
    return type(first)(f"{message} ({', '.join(away)}: {first.message})", hint=first.hint)


class _ReplicaLacks(NamedTuple):
    """What a replica lacks; and what is doubted of it, unless all is."""

    lacking: list[int]
    doubted: list[int]


def _look_at(name: str, manifest: Manifest, known: frozenset[int], services: Services) -> _ReplicaLacks:
    """Read what is not known of a replica; of the rest see that it is there, in its size."""
    target = services.target(name)
    gone = _not_shown(target, manifest) if known else set[int]()
    lacking = [
        ref.piece
        for ref in manifest.containers
        if (ref.piece in gone if ref.piece in known else not _is_whole(target, manifest.backup_id, ref))
    ]
    doubted = {ref.piece for ref in manifest.containers if ref.piece not in known} | set(lacking)
    return _ReplicaLacks(lacking, sorted(doubted) if known else [])


def _not_shown(target: Target, manifest: Manifest) -> set[int]:
    try:
        return lacking_on(target, manifest)
    except StrongroomError:
        return {ref.piece for ref in manifest.containers}


def _read_lately(run: Run, target: str, services: Services) -> frozenset[int]:
    """Return the containers of a bad replica that were read not long ago, if that is to count: verification
    has named what is damaged. Where that is its manifest, or an envelope, all of it is read."""
    if run.spec.options != BY_RECORD:
        return frozenset()
    now, checks = time.time(), services.store.checks([run.spec.backup])
    known = pieces_read(checks, target, since=now - services.read_within, until=now)
    return known - {MANIFEST} if MANIFEST in known else frozenset()


def _is_whole(target: Target, backup: str, ref: ContainerEntry) -> bool:
    name = container_name(backup, ref.sha256)
    try:
        return whole_copy(target, name, sha256=bytes.fromhex(ref.sha256), most=ref.size) is not None
    except StrongroomError:
        return False


def _other_targets(run: Run, name: str, services: Services) -> Iterator[Target]:
    return (services.target(pin.name) for pin in run.spec.targets if pin.name != name)
