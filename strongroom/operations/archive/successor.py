"""Whether a backup may take the place of another that is deleted, asked of the targets at this moment.

The record tells how deep a replica was read back once, and not what was lost since.
"""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.errors import StrongroomError
from strongroom.operations.archive.deletions import counting, read_deletions
from strongroom.operations.archive.select_backup import lacking_on
from strongroom.operations.services import Services
from strongroom.targets.manifest_listing import ManifestListing


def why_not_whole(services: Services, successor: str, name: str) -> str:
    """Say why a backup on a target replaces nothing; empty if it is there, believed and whole."""
    try:
        target = services.target(name)
        manifest = ManifestListing(target).read(successor, trusted=services.signer_fingerprints).manifest
        lacking = lacking_on(target, manifest)
    except StrongroomError as error:
        return f"{successor}, which replaces it, cannot be read on {name} ({error.code})"
    return f"{successor}, which replaces it, is not whole on {name}" if lacking else ""


def why_set_aside(services: Services, successor: str, *, quarantined: Mapping[str, str]) -> str:
    """Say why a backup replaces nothing on any target: somebody set it aside, or it is to be deleted too."""
    if successor in quarantined:
        return f"{successor}, which replaces it, is in quarantine"
    mark = counting(read_deletions(services, backup=successor).values(), successor)
    marked = mark is not None and mark.state != "undeleted"
    return f"{successor}, which replaces it, is marked too" if marked else ""
