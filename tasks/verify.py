"""Asking that a backup be read back."""

from __future__ import annotations

from strongroom.model import Depth
from tasks.submitting import submit
from workers import names
from workers.base import define


@define(names.VERIFY_BACKUP)
def verify_backup(*, backup: str, depth: str = Depth.DIGEST.value) -> str:
    """Read a backup back from every target of its policy, to a stated depth."""
    from strongroom.operations.submit import submit_verify  # noqa: PLC0415

    wanted = Depth(depth)
    return submit(
        lambda services, request: submit_verify(services, backup=backup, depth=wanted, request_id=request)
    )
