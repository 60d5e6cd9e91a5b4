"""Asking for a restore. The ``recover`` pool performs it, and is normally stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from strongroom.model import Selection
from tasks.submitting import submit
from workers import names
from workers.base import define


@define(names.RESTORE_BACKUP)
def restore_backup(
    *,
    backup: str,
    destination: str,
    secrets: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> str:
    """Restore from a backup into a configured destination: named secrets, or all with the tags."""
    from strongroom.operations.restore_run import RestoreOptions  # noqa: PLC0415
    from strongroom.operations.submit import submit_restore  # noqa: PLC0415

    options = RestoreOptions(destination=destination, names=tuple(secrets), overwrite=overwrite)
    selection = Selection(tags=dict(tags or {}))
    return submit(
        lambda services, request: submit_restore(
            services, backup=backup, options=options, selection=selection, request_id=request
        )
    )
