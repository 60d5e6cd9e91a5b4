"""Asking that a backup be read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.model import Depth
from workers import names
from workers.entry import define_entry

if TYPE_CHECKING:
    from strongroom.operations.engine.services import Services
    from strongroom.operations.engine.submit import Submitted


@define_entry(names.VERIFY_BACKUP)
def verify_backup(
    services: Services, request: str, *, backup: str, depth: str = Depth.DIGEST.value
) -> Submitted:
    """Read a backup back from every target of its policy, to a stated depth."""
    from strongroom.operations.backup.verify_job import submit_verify

    return submit_verify(services, backup=backup, depth=Depth(depth), request_id=request)
