"""Rebuilding the catalog from a target alone: the targets are the truth.

Only validly signed manifests of trusted signers are believed. A replica counts as good if
every container is there in its right size (depth ``present``); no more is claimed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

from msgspec import Struct

from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.errors import MissingPiece, StrongroomError
from strongroom.model import Depth
from strongroom.state.records import CatalogEntry, Replica
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.targets.repaired import original_name, sound_copy

MANIFESTS = "manifests/"


class Refused(Struct, frozen=True, kw_only=True):
    """A manifest that is not believed, and why."""

    backup: str
    code: str
    reason: str


class Rebuilt(Struct, frozen=True, kw_only=True):
    """What a rebuild found. ``incomplete`` names backups of which containers are missing."""

    backups: tuple[str, ...]
    incomplete: tuple[str, ...]
    refused: tuple[Refused, ...]


def rebuild(store: RunStore, target: Target, *, trusted: frozenset[str]) -> Rebuilt:
    """Enter every backup of a target into the catalog.

    What the catalog knows of replicas elsewhere stays. Raises TargetError if the target
    does not answer; a manifest that is wrong is reported, and the others still count.
    """
    found: list[str] = []
    incomplete: list[str] = []
    refused: list[Refused] = []
    for backup in list(_backups(target)):
        try:
            manifest, content = _manifest(target, backup, trusted)
        except StrongroomError as error:
            refused.append(Refused(backup=backup, code=error.code, reason=error.message))
            continue
        good = _whole(target, manifest)
        found.append(backup)
        incomplete += [] if good else [backup]
        _enter(store, target.name, manifest, content, good=good)
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


def _backups(target: Target) -> Iterator[str]:
    for name in dict.fromkeys(original_name(info.name) for info in target.list(MANIFESTS)):
        yield name.removeprefix(MANIFESTS).removesuffix(".json")


def _manifest(target: Target, backup: str, trusted: frozenset[str]) -> tuple[Manifest, bytes]:
    def parsed(content: bytes) -> tuple[Manifest, bytes]:
        manifest = parse_manifest(content, trusted=trusted)
        if manifest.backup_id != backup:
            raise MissingPiece(f"the manifest under this name belongs to backup '{manifest.backup_id}'")
        return manifest, content

    return sound_copy(target, f"{MANIFESTS}{backup}.json", parsed)


def _whole(target: Target, manifest: Manifest) -> bool:
    """Tell whether each container, or a repair of it, is there with its size."""
    found = {
        (original_name(info.name), info.size) for info in target.list(f"containers/{manifest.backup_id}/")
    }
    return all(
        (f"containers/{manifest.backup_id}/{container.sha256}", container.size) in found
        for container in manifest.containers
    )


def _enter(store: RunStore, target: str, manifest: Manifest, content: bytes, *, good: bool) -> None:
    entry = entry_of(manifest, hashlib.sha256(content).hexdigest())
    replica = (_known(store, entry, target) if good else None) or Replica(
        backup=manifest.backup_id,
        target=target,
        good=good,
        verified=Depth.PRESENT if good else None,
        verified_at=time.time() if good else None,
    )
    store.put_backup(entry, [replica])


def _known(store: RunStore, entry: CatalogEntry, target: str) -> Replica | None:
    """Return what an earlier and deeper look at the same replica found, if it was good."""
    known = store.backup(entry.backup)
    if known is None or known.manifest_sha256 != entry.manifest_sha256:
        return None
    return next(
        (r for r in store.replicas(entry.backup) if r.target == target and r.good and r.verified), None
    )
