"""Whether a backup may take the place of another that is deleted, asked of the targets at this moment.

The record tells how deep a replica was read back once, and not what was lost since.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from strongroom.container.errors import DAMAGE
from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.errors import StrongroomError
from strongroom.model import Depth
from strongroom.operations.archive.deletions import counting, read_deletions
from strongroom.operations.archive.inventory import put_damaged_on_record
from strongroom.operations.archive.open import readable_container, require_digest, require_size
from strongroom.operations.archive.select_backup import lacking_on
from strongroom.operations.services import Services
from strongroom.state.records import ContainerCheck
from strongroom.targets import Target
from strongroom.targets.manifest_listing import ManifestListing


def why_not_whole(services: Services, successor: str, name: str) -> str:
    """Say why a backup on a target replaces nothing; empty if it is there, believed and whole.

    What nobody read there within the span is read now: a size says nothing of the bytes.
    """
    try:
        target = services.target(name)
        manifest = ManifestListing(target).read(successor, trusted=services.signer_fingerprints).manifest
        if lacking_on(target, manifest):
            return f"{successor}, which replaces it, is not whole on {name}"
        for ref in _unread(services, manifest, name):
            _read(services, target, manifest, ref)
    except StrongroomError as error:
        return f"{successor}, which replaces it, cannot be read on {name} ({error.code})"
    return ""


def _unread(services: Services, manifest: Manifest, target: str) -> list[ContainerEntry]:
    """Return the containers that nobody read on a target within the span."""
    now = time.time()
    checks = [one for one in services.store.checks([manifest.backup_id]) if one.target == target]
    known = {one.piece for one in checks if now - services.span < one.checked_at <= now}
    return [ref for ref in manifest.containers if ref.piece not in known]


def _read(services: Services, target: Target, manifest: Manifest, ref: ContainerEntry) -> None:
    """Compare a container with its digest, and put on record what came of it. Raises what is wrong."""
    backup, store = manifest.backup_id, services.store
    try:
        name = readable_container(target, backup, ref)
        require_size(target, name, ref)
        require_digest(target, name, ref)
    except DAMAGE as error:
        key = (target.name, backup)
        put_damaged_on_record(store, {key: f"its container {ref.piece}: {error.code}"}, {key: {ref.piece}})
        raise
    if store.backup(backup) is not None:
        read = ContainerCheck(
            backup=backup, target=target.name, piece=ref.piece, depth=Depth.DIGEST, checked_at=time.time()
        )
        store.put_checks([read])


def why_set_aside(services: Services, successor: str, *, quarantined: Mapping[str, str]) -> str:
    """Say why a backup replaces nothing on any target: somebody set it aside, or it is to be deleted too."""
    if successor in quarantined:
        return f"{successor}, which replaces it, is in quarantine"
    mark = counting(read_deletions(services, backup=successor).values(), successor)
    marked = mark is not None and mark.state != "undeleted"
    return f"{successor}, which replaces it, is marked too" if marked else ""
