"""commit: write the manifest, last, on every target that holds every container.

No manifest, no backup. Its bytes derive from the run record alone. So a second claimant, after a crash or a
redelivery, writes the very same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

import msgspec

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
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import prepare
from strongroom.operations import run_integrity
from strongroom.operations.archive.catalog import absent_containers, entry_of
from strongroom.operations.archive.locks import lock_replicas
from strongroom.operations.backup.omitted_recipients import left_out
from strongroom.operations.backup.plan import plan_of
from strongroom.operations.backup.quorum import complete_targets, missing_from_quorum
from strongroom.operations.backup.upload import digest_of
from strongroom.operations.errors import QuorumNotMet
from strongroom.operations.layout import container_entry, manifest_name
from strongroom.operations.services import Services
from strongroom.operations.trust_lists.spread import put_lists
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Replica, Run, RunStep, StepKind
from strongroom.targets import Target
from strongroom.timestamps import rfc3339
from strongroom.words import plural


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
    run_integrity.check_time(run)
    run_integrity.check_policy(run, services)
    manifest = build_manifest(run, services)
    signer = services.signers("control")
    content = sign_manifest(manifest, signer)
    complete = complete_targets(run.spec, services.store.tally(run.id), len(manifest.containers))
    placed = {
        name: _put(run_integrity.check_target(run, name, services), manifest, content, signer.lists)
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
    return Committed(
        manifest=digest,
        targets=written,
        created=tuple(created),
        unplaced=unplaced,
        counts=manifest.counts,
        unlocked=lock_replicas(run, manifest, written, services),
        left_out=_omitted_recipients(run, manifest),
    )


def _omitted_recipients(run: Run, manifest: Manifest) -> tuple[str, ...]:
    """Return the keys that the run names and the manifest does not: their keys were lost or away."""
    sealed_for = {recipient.name for recipient in manifest.recipients}
    return tuple(pin.name for pin in run.spec.recipients if pin.name not in sealed_for)


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
    signed = [run_integrity.receipt_of(run, row.step.piece, row.result, services) for row in rows]
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
