"""Asking that missing or bad replicas be brought up again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers import names
from workers.entry import define_entry

if TYPE_CHECKING:
    from strongroom.operations.engine.services import Services
    from strongroom.operations.engine.submit import Submitted


@define_entry(names.REPAIR_BACKUP)
def repair_backup(services: Services, request: str, *, backup: str) -> Submitted:
    """Copy what a target lacks of a backup from one that has it."""
    from strongroom.operations.backup.repair import submit_repair

    return submit_repair(services, backup=backup, request_id=request)
