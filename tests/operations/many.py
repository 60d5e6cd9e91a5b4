"""Many small backups, made directly from the format: the pipeline has its own tests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence

from msgspec import structs

from strongroom.container.about import ContainerHeader
from strongroom.container.cobblestone import name_hash
from strongroom.container.manifest import Counts, Manifest, ManifestSelection, ManifestTarget, sign_manifest
from strongroom.container.signing import CertifiedSigner, sign_receipt
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import write_container
from strongroom.keys import Recipient
from strongroom.operations.archive.catalog import entry_of
from strongroom.operations.engine.layout import container_entry, container_name, manifest_name, sealed_receipt
from strongroom.operations.rotation.reencrypt import manifest_recipient
from strongroom.state.records import Spec
from strongroom.state.store import RunStore
from strongroom.targets import Target
from tests.operations.world import made_up


def make_backup(
    number: int,
    *,
    recipients: Sequence[Recipient],
    spec: Spec,
    signers: tuple[CertifiedSigner, CertifiedSigner],
    pieces: int = 1,
) -> tuple[Manifest, dict[str, bytes]]:
    """Return a backup's manifest and objects.

    One container is sealed. The others are the same bytes under names of their own, so that a
    hundred thousand of them fit into memory: what must not be read is told by its name.
    """
    control, seal = signers
    about = ContainerHeader(
        backup_id=f"20260101T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}Z-{number:08x}",
        piece=0,
        pieces=pieces,
        source=spec.source,
        policy=spec.policy,
        values=True,
        created_at="2026-01-01T00:00:00Z",
        name_key=os.urandom(32),
    )
    rows = [(name_hash(about.name_key, secret.name), secret) for secret in made_up(1)]
    content = bytearray()
    sealed = write_container(
        content.extend,
        rows,
        about=about,
        wrapping_key=WrappingKey.create(recipients),
        signer=seal,
        digest_key=bytes(32),
    )
    receipt = sealed_receipt(about, sealed)
    empty = structs.replace(receipt, secrets=0, versions=0, first="", last="")
    receipts = [
        receipt,
        *(structs.replace(empty, piece=piece, sha256=os.urandom(32).hex()) for piece in range(1, pieces)),
    ]
    entries = [container_entry(one, sign_receipt(one, seal), seal.public) for one in receipts]
    manifest = _manifest(about, entries, recipients, spec)
    objects = dict.fromkeys(
        (container_name(about.backup_id, entry.sha256) for entry in manifest.containers), bytes(content)
    )
    return manifest, objects | {manifest_name(about.backup_id): sign_manifest(manifest, control)}


def _manifest(
    about: ContainerHeader, entries: Sequence, recipients: Sequence[Recipient], spec: Spec
) -> Manifest:  # type: ignore[type-arg]
    return Manifest(
        backup_id=about.backup_id,
        policy=about.policy,
        source=about.source,
        created_at=about.created_at,
        values=True,
        sealed=True,
        selection=ManifestSelection(),
        counts=Counts(
            secrets=sum(entry.secrets for entry in entries),
            versions=sum(entry.versions for entry in entries),
            size=sum(entry.size for entry in entries),
        ),
        recipients=tuple(manifest_recipient(recipient) for recipient in recipients),
        targets=tuple(ManifestTarget(**structs.asdict(pin)) for pin in spec.targets),
        quorum=spec.quorum,
        regions=spec.regions,
        providers=spec.providers,
        not_contained=(),
        containers=tuple(entries),
        previous=None,
        trust=0,
    )


def place(objects: dict[str, bytes], target: Target) -> None:
    """Put a backup's objects on a target."""
    for name, content in objects.items():
        target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def enter(store: RunStore, manifests: Iterable[tuple[Manifest, dict[str, bytes]]]) -> None:
    """Enter backups into the catalog."""
    for manifest, objects in manifests:
        content = objects[manifest_name(manifest.backup_id)]
        store.put_backup(entry_of(manifest, hashlib.sha256(content).hexdigest()))
