"""Asking that missing or bad replicas be brought up again."""

from __future__ import annotations

from tasks.submitting import submit
from workers import names
from workers.base import define


@define(names.REPAIR_BACKUP)
def repair_backup(*, backup: str) -> str:
    """Copy what a target lacks of a backup from one that has it."""
    from strongroom.operations.submit import submit_repair  # noqa: PLC0415

    return submit(lambda services, request: submit_repair(services, backup=backup, request_id=request))
