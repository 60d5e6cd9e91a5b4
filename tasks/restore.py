"""Asking for a restore. The ``recover`` pool performs it, and is normally stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from strongroom.model import Selection
from workers import names
from workers.entry import define_entry

if TYPE_CHECKING:
    from strongroom.operations.runs.submit import Submitted
    from strongroom.operations.services import Services


@define_entry(names.RESTORE_BACKUP)
def restore_backup(
    services: Services,
    request: str,
    *,
    backup: str,
    to: str,
    include: Sequence[str] = (),
    filter_tag: Mapping[str, str] | None = None,
    overwrite_existing: bool = False,
) -> Submitted:
    """Restore from a backup into a configured destination: named secrets, or all with the tags."""
    from strongroom.operations.restore.facts import RestoreOptions
    from strongroom.operations.restore.job import submit_restore

    options = RestoreOptions(destination=to, names=tuple(include), overwrite=overwrite_existing)
    selection = Selection(tags=dict(filter_tag or {}))
    return submit_restore(services, backup=backup, options=options, selection=selection, request_id=request)
