"""The record made anew from a target, and what a choice of backups asks of it."""

from __future__ import annotations

import hashlib
import time

from msgspec import Struct

from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.errors import StrongroomError
from strongroom.model import Depth
from strongroom.operations.archive import holds, inventory, quarantine
from strongroom.operations.archive.on_record import BackupsOnRecord
from strongroom.state.records import CatalogEntry, Replica
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.targets.reading import ManifestListing, held_to_name, original_name

# -- Rebuilding the catalog from a target alone: the targets are the truth ----------------------
#
# Only validly signed manifests of trusted signers are believed. A replica counts as good if
# every container is there in its right size (depth ``present``); no more is claimed.


class RefusedManifest(Struct, frozen=True, kw_only=True):
    """A manifest that is not believed, and why."""

    backup: str
    code: str
    reason: str


class Rebuilt(Struct, frozen=True, kw_only=True):
    """What a rebuild found. ``incomplete`` names backups of which containers are missing."""

    backups: tuple[str, ...]
    incomplete: tuple[str, ...]
    refused: tuple[RefusedManifest, ...]


def rebuild(store: RunStore, target: Target, *, trusted: frozenset[str]) -> Rebuilt:
    """Enter every backup of a target into the catalog.

    What the catalog knows of replicas elsewhere stays. Raises TargetError if the target
    does not answer; a manifest that is wrong is reported, and the others still count.
    """
    found: list[str] = []
    incomplete: list[str] = []
    refused: list[RefusedManifest] = []
    listing = ManifestListing(target)
    for backup in listing.backups:
        try:
            manifest, content = _manifest(listing, backup, trusted)
        except StrongroomError as error:
            refused.append(RefusedManifest(backup=backup, code=error.code, reason=error.message))
            continue
        good = not absent_containers(target, manifest)
        found.append(backup)
        incomplete += [] if good else [backup]
        entry = entry_of(manifest, hashlib.sha256(content).hexdigest())
        replica = (_known(store, entry, target.name) if good else None) or Replica(
            backup=manifest.backup_id,
            target=target.name,
            good=good,
            verified=Depth.PRESENT if good else None,
            verified_at=time.time() if good else None,
        )
        store.put_backup(entry, [replica])
    return Rebuilt(backups=tuple(found), incomplete=tuple(incomplete), refused=tuple(refused))


def entry_of(manifest: Manifest, sha256: str) -> CatalogEntry:
    """Return what the catalog keeps of a manifest; ``sha256`` (hex) is that of its file."""
    return CatalogEntry(
        backup=manifest.backup_id,
        policy=manifest.policy,
        source=manifest.source,
        created_at=manifest.created_at,
        values=manifest.values,
        secrets=manifest.counts.secrets,
        size=manifest.counts.size,
        containers=len(manifest.containers),
        manifest_sha256=sha256,
    )


def _manifest(listing: ManifestListing, backup: str, trusted: frozenset[str]) -> tuple[Manifest, bytes]:
    def parsed(content: bytes) -> tuple[Manifest, bytes]:
        return held_to_name(content, backup, trusted=trusted).manifest, content

    return listing.parsed(backup, parsed)


def absent_containers(target: Target, manifest: Manifest) -> list[ContainerEntry]:
    """Return a manifest's containers that a target does not list in their size, nor a repair of them."""
    prefix = f"containers/{manifest.backup_id}/"
    found = {(original_name(info.name), info.size) for info in target.list(prefix)}
    return [
        container_entry
        for container_entry in manifest.containers
        if (f"{prefix}{container_entry.sha256}", container_entry.size) not in found
    ]


def _known(store: RunStore, entry: CatalogEntry, target: str) -> Replica | None:
    """Return what an earlier and deeper look at the same replica found, if it was good."""
    known = store.backup(entry.backup)
    if known is None or known.manifest_sha256 != entry.manifest_sha256:
        return None
    return next(
        (r for r in store.replicas(entry.backup) if r.target == target and r.good and r.verified), None
    )


# -- Reading what the record here says of backups, which loads the database ---------------------


BEFORE_ALL = -(2**62)
"""The number before that of the first event, whatever somebody gave it."""


def read_record(store: RunStore, *, gone: frozenset[str]) -> BackupsOnRecord:
    """Return what a record says. ``gone`` are the backups that are shredded."""
    return BackupsOnRecord(
        quarantined=quarantine.quarantined_on_record(store),
        gone=gone,
        known=inventory.known_backups(store),
        held=holds.recorded_holds(store),
        ledger=next((link.chain for link in store.links(after=BEFORE_ALL, limit=1)), ""),
    )
