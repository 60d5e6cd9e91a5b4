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
from strongroom.operations.archive.choice import lacking_on
from strongroom.operations.archive.deletions import counting, read_deletions
from strongroom.operations.archive.inventory import put_damaged_on_record
from strongroom.operations.archive.open import readable_container, require_digest, require_size
from strongroom.operations.services import Services
from strongroom.state.records import ContainerCheck
from strongroom.targets import Target
from strongroom.targets.manifest_listing import ManifestListing


class Successors:
    """Tells of backups whether they are there and whole, for one step that deletes what they replace.

    The record says what was sound when it was read, and a size says nothing of the bytes. So each is read
    from each target right before something goes for it, once a step, however much goes for it.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._found: dict[tuple[str, str], str] = {}

    def why_not_whole(self, successor: str, name: str) -> str:
        """Say why a backup on a target replaces nothing; empty if it is there, believed and whole."""
        services = self._services
        try:
            target = services.target(name)
            manifest = ManifestListing(target).read(successor, trusted=services.signer_fingerprints).manifest
            if lacking_on(target, manifest):
                return f"{successor}, which replaces it, is not whole on {name}"
            if (successor, name) not in self._found:
                self._found[successor, name] = self._damage(target, manifest)
        except StrongroomError as error:
            return _cannot_be_read(successor, name, error)
        return self._found[successor, name]

    def _damage(self, target: Target, manifest: Manifest) -> str:
        """Read all containers to their end. Raises what says nothing of the bytes: that is asked again."""
        try:
            for ref in manifest.containers:
                _read(self._services, target, manifest, ref)
        except DAMAGE as error:
            return _cannot_be_read(manifest.backup_id, target.name, error)
        return ""


def _cannot_be_read(successor: str, name: str, error: StrongroomError) -> str:
    return f"{successor}, which replaces it, cannot be read on {name} ({error.code})"


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
