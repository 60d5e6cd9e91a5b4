"""upload and commit: containers first, each once; the manifest last, where all of them are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.container.manifest import (
    ContainerEntry,
    Counts,
    Manifest,
    ManifestRecipient,
    ManifestSelection,
    ManifestTarget,
    sign_manifest,
)
from strongroom.container.wrapping import WrappingKeyRecord
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import Role, prepare
from strongroom.operations.archive.catalog import absent_containers, entry_of
from strongroom.operations.archive.envelopes import by_wrapping_key, first_answer
from strongroom.operations.archive.open import carried_record, manifest_bytes
from strongroom.operations.archive.removal import lock_replicas
from strongroom.operations.backup.capture import Captured
from strongroom.operations.backup.plan import plan_of
from strongroom.operations.backup.verify import complete_targets, has_manifest, missing_from_quorum
from strongroom.operations.engine import integrity
from strongroom.operations.engine.jobs import read_result
from strongroom.operations.engine.layout import container_entry, container_name, manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.spread import put_lists
from strongroom.operations.engine.stage import stage_of
from strongroom.operations.errors import QuorumNotMet
from strongroom.state.errors import RecordRefused
from strongroom.state.records import RecipientPin, Replica, Run, RunStep, StepKind, StepState
from strongroom.system.errors import TargetReadOnly
from strongroom.targets import Target
from strongroom.targets.errors import TargetLocked
from strongroom.targets.reading import put_beside
from strongroom.targets.resilient import Afresh
from strongroom.times import rfc3339
from strongroom.words import plural

# -- upload: one container to one target, put only if absent, and read back ---------------------
#
# The digest comes from the capture's signed receipt, never from the message, and the bytes from whatever lies
# on the stage under it: one that lies is caught there, and again by the put itself.


class Uploaded(Struct, frozen=True, kw_only=True):
    """A container on a target. ``created``: it was this step that created it."""

    created: bool


prepare(Uploaded)


def upload(run: Run, step: RunStep, services: Services) -> Uploaded:
    """Copy one staged container to one target."""
    target = integrity.check_target(run, step.target, services)
    captured = services.store.row(run.id, RunStep(StepKind.CAPTURE, step.piece)).result
    receipt = integrity.receipt_of(run, step.piece, captured, services).receipt
    stage = stage_of(run, services)
    name = container_name(run.id, receipt.sha256)
    content = lambda: stage.container(run.id, step.piece, receipt.sha256, sealed=run.spec.sealed)  # noqa: E731
    return Uploaded(created=place(target, name, content, size=receipt.size, sha256=receipt.sha256))


def place(
    target: Target, name: str, content: Callable[[], Iterable[bytes]], *, size: int, sha256: str
) -> bool:
    """Put an object and read it back; replace a damaged one that lay under its name.

    A damaged one that is locked, or that this credential may not remove, stays, and a whole
    copy is put beside it (:mod:`strongroom.targets.reading`).

    Args:
        content: gives the chunks, anew each time.
        sha256: in hex.

    Returns:
        Whether it was this call that created what now lies there.

    Raises:
        VerificationFailed: what is read back is not what was put.
    """
    digest = bytes.fromhex(sha256)
    for _ in range(2):
        created = target.put(name, Afresh(content), size=size, sha256=digest)
        if digest_of(target, name, size=size) == sha256:
            return created
        try:
            target.delete(name)
        except (TargetLocked, TargetReadOnly):
            put_beside(target, name, content, size=size, sha256=digest)
            return True
    left = target.stat(name) is not None
    raise VerificationFailed(
        f"target '{target.name}' gave back other bytes than it was given; {_STRANGER if left else _REMOVED}",
        hint="Nothing on other targets is affected. Look at what answers under this target's address.",
    )


_REMOVED = "the copy was removed"
_STRANGER = (
    "it was asked to remove the copy, and still shows one: something else than the target may answer there, "
    "such as a proxy or a login page"
)


def digest_of(target: Target, name: str, *, size: int) -> str:
    """Read an object in a stream and return its SHA-256 in hex.

    One byte more than it is to have is read, and no further: whatever lies in its place, however long,
    then has another digest.
    """
    digest = hashlib.sha256()
    for chunk in target.read(name, length=size + 1):
        digest.update(chunk)
    return digest.hexdigest()


def clear_stage(run: Run, piece: int, services: Services) -> None:
    """Delete a piece from the stage once nothing will be uploaded from it any more.

    Best effort: whatever a crash leaves here, the run's report sweeps.
    """
    uploads = services.store.rows(run.id, StepKind.UPLOAD, piece=piece)
    if any(not row.state.settled for row in uploads):
        return
    captured = services.store.row(run.id, RunStep(StepKind.CAPTURE, piece))
    if captured.state is StepState.DONE:
        with suppress(RecordRefused):
            staged = read_result(run, captured.step, captured.result, Captured).staged
            stage_of(run, services).place.delete(staged)


# -- Who a backup is not sealed for, by its containers' own envelopes: these are signed, a row is not
#
# A key that is lost or out of reach when something is sealed is left out, and the backup is degraded. Whoever
# writes to the state database could edit what a row says of that: to keep a reader off the manifest, or
# to promise one that cannot open.


def left_out(run: Run, containers: Iterable[ContainerEntry], services: Services) -> list[str]:
    """Return the names of the recipients that some container of a run was not sealed for.

    Raises:
        RecordRefused: one was sealed for somebody whom the run does not name: a row hides a reader.
        StrongroomError: no target gave the envelope of some container.
    """
    if not run.spec.sealed:
        return []
    records = [_record(run, entry, services) for entry in by_wrapping_key(containers).values()]
    return sorted({name for record in records for name in _lacking(record, run.spec.recipients)})


def _record(run: Run, entry: ContainerEntry, services: Services) -> WrappingKeyRecord:
    return first_answer(
        run.spec.targets,
        lambda pin: carried_record(integrity.check_target(run, pin.name, services), run.id, entry),
        of=f"a container of {run.id}",
    )


def _lacking(record: WrappingKeyRecord, wanted: Sequence[RecipientPin]) -> list[str]:
    """Compare by label, which is a recipient's name; what has no label may be any that is not named."""
    labels = [stanza.label for stanza in record.stanzas]
    if strangers := sorted({label for label in labels if label} - {pin.name for pin in wanted}):
        raise RecordRefused(f"a container is also sealed to {strangers[0]!r}, which its run does not name")
    unnamed = [pin.name for pin in wanted if pin.name not in labels]
    return unnamed if labels.count("") < len(unnamed) else []


# -- commit: write the manifest, last, on every target that holds every container ---------------
#
# No manifest, no backup. Its bytes derive from the run record alone. So a second claimant, after a crash or a
# redelivery, writes the very same bytes.


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was made. ``manifest`` is its manifest's digest.

    ``targets`` hold it; on those ``created`` it was this step that put it. ``left_out`` names recipients
    whose key service did not answer. ``unplaced`` says why a target does not have the manifest, ``unlocked``
    why a replica is not locked.
    """

    manifest: str
    targets: tuple[str, ...]
    created: tuple[str, ...]
    unplaced: Mapping[str, str]
    counts: Counts
    unlocked: Mapping[str, str]
    left_out: tuple[str, ...]


prepare(Committed)


def commit(run: Run, step: RunStep, services: Services) -> Committed:
    """Write and read back the manifest wherever the backup is whole; demand the quorum."""
    integrity.check_time(run)
    integrity.check_policy(run, services)
    manifest = build_manifest(run, services)
    signer = services.signers(Role.CONTROL)
    content = sign_manifest(manifest, signer)
    complete = complete_targets(run.spec, services.store.tally(run.id), len(manifest.containers))
    placed = {
        name: _put(integrity.check_target(run, name, services), manifest, content, signer.lists)
        for name in complete
    }
    created = [name for name, put in placed.items() if put.created]
    unplaced = {name: put.refusal for name, put in placed.items() if put.refusal is not None}
    written = tuple(name for name in placed if name not in unplaced)
    if lacking := missing_from_quorum(run.spec, written):
        take_back(run, created, services)
        first = next((f" ({why})" for why in unplaced.values()), "")
        raise QuorumNotMet(f"the manifest could not be placed: {lacking}{first}")
    digest = hashlib.sha256(content).hexdigest()
    _enter_backup(manifest, digest, written, services)
    # The keys that the run names and the manifest does not: their keys were lost or away.
    sealed_for = {recipient.name for recipient in manifest.recipients}
    return Committed(
        manifest=digest,
        targets=written,
        created=tuple(created),
        unplaced=unplaced,
        counts=manifest.counts,
        unlocked=lock_replicas(run, manifest, written, services),
        left_out=tuple(pin.name for pin in run.spec.recipients if pin.name not in sealed_for),
    )


def build_manifest(run: Run, services: Services) -> Manifest:
    """Derive the manifest from the run record, checking every capture's receipt."""
    containers = _containers(run, services)
    absent = left_out(run, containers, services)
    spec, facts = run.spec, plan_of(run)
    return Manifest(
        backup_id=run.id,
        policy=spec.policy,
        source=spec.source,
        created_at=rfc3339(run.created_at),
        values=spec.values,
        sealed=spec.sealed,
        selection=_convert(spec.selection, ManifestSelection),
        counts=Counts(
            secrets=sum(entry.secrets for entry in containers),
            versions=sum(entry.versions for entry in containers),
            size=sum(entry.size for entry in containers),
        ),
        recipients=tuple(
            _convert(pin, ManifestRecipient) for pin in spec.recipients if pin.name not in absent
        ),
        targets=tuple(_convert(pin, ManifestTarget) for pin in spec.targets),
        quorum=spec.quorum,
        regions=spec.regions,
        providers=spec.providers,
        not_contained=facts.plan.not_contained,
        containers=containers,
        previous=facts.previous,
        trust=facts.trust,
    )


T = TypeVar("T", bound=msgspec.Struct)


def _convert(record: msgspec.Struct, kind: type[T]) -> T:
    """Return the manifest's record of a state record: those of its fields that are frozen for ever."""
    fields = msgspec.to_builtins(record)
    return msgspec.convert({name: fields[name] for name in kind.__struct_fields__}, kind)


def _containers(run: Run, services: Services) -> tuple[ContainerEntry, ...]:
    rows = sorted(services.store.rows(run.id, StepKind.CAPTURE), key=lambda row: row.step.piece)
    signed = [integrity.receipt_of(run, row.step.piece, row.result, services) for row in rows]
    entries = [container_entry(receipt.receipt, receipt.signature, receipt.signer) for receipt in signed]
    if len(entries) != plan_of(run).plan.pieces:
        raise RecordRefused(f"run {run.id} does not record one capture for each piece of its plan")
    return tuple(entries)


def take_back(run: Run, created: Sequence[str], services: Services) -> None:
    """Remove a manifest from the targets on which this very attempt created it, for no backup came of it.

    Only whoever created it knows that; a sweep, which goes by rows, never removes one.
    """
    for name in created:
        with suppress(StrongroomError):
            services.target(name).delete(manifest_name(run.id))


class _Put(NamedTuple):
    """Why a target does not have the manifest, if so, and whether it was this attempt that created it."""

    refusal: str | None
    created: bool


def _put(target: Target, manifest: Manifest, content: bytes, lists: Mapping[str, bytes]) -> _Put:
    name = manifest_name(manifest.backup_id)
    digest = hashlib.sha256(content)
    created = False
    try:
        check_containers(target, manifest)
        put_lists(target, lists)
        created = target.put(name, [content], size=len(content), sha256=digest.digest())
        if digest_of(target, name, size=len(content)) != digest.hexdigest():
            raise VerificationFailed(f"target '{target.name}' holds another manifest of {manifest.backup_id}")
    except (TargetError, MissingPiece, VerificationFailed) as error:
        return _Put(f"{error.code}: {error.message}", created)
    return _Put(None, created)


def check_containers(target: Target, manifest: Manifest) -> None:
    """Raise MissingPiece unless a target lists every container that a manifest names.

    The record says that each was uploaded, and whoever holds the state database can write that there.
    """
    if lacking := absent_containers(target, manifest):
        count = plural(len(lacking), "container")
        raise MissingPiece(f"target '{target.name}' lacks {count} of {manifest.backup_id}")


def _enter_backup(manifest: Manifest, digest: str, written: tuple[str, ...], services: Services) -> None:
    replicas = [
        Replica(backup=manifest.backup_id, target=name, good=name in written, verified=None, verified_at=None)
        for name in (target.name for target in manifest.targets)
    ]
    services.store.put_backup(entry_of(manifest, digest), replicas)


# -- A manifest of a run that made no backup by its record: a commit placed it, and was cut off ---
#
# A later attempt may lack the quorum, and takes back only what it created itself. Nobody else may remove
# such a manifest: in an edited record a good backup looks the same. So the catalog gets the backup, with
# its other replicas as bad ones, and the scheduled repair completes it.


def enter_backup(run: Run, shown: Mapping[str, Manifest], services: Services) -> None:
    """Enter a run's backup into the catalog if it is in neither, by the manifests that targets show."""
    if not shown or has_manifest(run) or services.store.backup(run.id) is not None:
        return
    first, manifest = next(iter(shown.items()))
    try:
        content = manifest_bytes(services.target(first), run.id, trusted=services.signer_fingerprints)
    except StrongroomError:  # its signer is distrusted, or the target has just gone away
        return
    replicas = [
        Replica(
            backup=run.id,
            target=pin.name,
            good=shown.get(pin.name) == manifest and _holds_all(pin.name, manifest, services),
            verified=None,
            verified_at=None,
        )
        for pin in manifest.targets
    ]
    services.store.put_backup(entry_of(manifest, hashlib.sha256(content).hexdigest()), replicas)


def targets_with_backup(run: Run, services: Services) -> list[str]:
    """Return the targets that hold a whole backup of a run whose record has none."""
    if has_manifest(run):
        return []
    return sorted(replica.target for replica in services.store.replicas(run.id) if replica.good)


def _holds_all(name: str, manifest: Manifest, services: Services) -> bool:
    try:
        return not absent_containers(services.target(name), manifest)
    except StrongroomError:
        return False
