"""What is put on record of a replica that was read back whole."""

from __future__ import annotations

from strongroom.model import Depth
from strongroom.operations.verification.order import MANIFEST
from strongroom.state.records import ContainerCheck


def checks_of_replica(
    backup: str, target: str, containers: int, depth: Depth, *, at: float
) -> list[ContainerCheck]:
    """Return what is known of a replica that was read back whole at a time: of each container, and of its
    manifest. Nothing, if it was only seen to be there."""
    if depth is Depth.PRESENT:
        return []
    return [
        ContainerCheck(backup=backup, target=target, piece=piece, depth=depth, checked_at=at)
        for piece in range(MANIFEST, containers)
    ]
