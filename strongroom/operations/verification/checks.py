"""What is put on record of a replica that was read back whole."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from strongroom.model import Depth
from strongroom.operations.verification.order import MANIFEST
from strongroom.state.records import ContainerCheck, Replica

_DEPTHS = tuple(Depth)


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


def refresh(replica: Replica, containers: int, checks: Iterable[ContainerCheck]) -> Replica:
    """Return what is known of a good replica by what was read of it, container by container.

    It was verified when the container was that was not read for longest, and to the depth that each was. As
    long as one was never read, nothing new is known. Its bytes are the same, so it keeps a depth that it had.
    """
    known = {check.piece: check for check in checks}
    if not replica.good or any(piece not in known for piece in range(MANIFEST, containers)):
        return replica
    read = [known[piece] for piece in range(MANIFEST, containers)]
    depth = min((check.depth for check in read[1:]), default=Depth.DIGEST, key=_DEPTHS.index)
    before = min(replica.verified or Depth.PRESENT, Depth.COMPARED, key=_DEPTHS.index)
    return structs.replace(
        replica,
        verified=max(depth, before, key=_DEPTHS.index),
        verified_at=min(check.checked_at for check in read),
    )


def pieces_read(
    checks: Iterable[ContainerCheck], target: str, *, since: float, until: float
) -> frozenset[int]:
    """Return the containers of a backup that were read on a target in a time, its manifest among them."""
    return frozenset(
        check.piece for check in checks if check.target == target and since < check.checked_at <= until
    )
