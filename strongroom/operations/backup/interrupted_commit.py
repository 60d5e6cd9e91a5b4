"""A manifest of a run that made no backup by its record: a commit placed it, and was cut off.

A later attempt may lack the quorum, and takes back only what it created itself. Nobody else may remove such a
manifest: in an edited record a good backup looks the same. So the catalog gets the backup, with its other
replicas as bad ones, and the scheduled repair completes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.operations.archive.catalog import absent_containers, entry_of
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.backup.facts import has_manifest
from strongroom.operations.services import Services
from strongroom.state.records import Replica, Run


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
