"""Asking for a restore, or for its undoing. The ``recover`` pool performs both, and is normally stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from strongroom.model import Selection
from workers import names
from workers.app import app
from workers.entry import define_entry

if TYPE_CHECKING:
    from strongroom.operations.engine.services import Services
    from strongroom.operations.engine.submit import Submitted


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
    relocate: str = "",
    requester: str = "",
) -> Submitted:
    """Restore from a backup into a configured destination: named secrets, or all with the tags."""
    from strongroom.operations.restore.job import submit_restore
    from strongroom.wiring.jobs import restore_options

    selection = Selection(tags=dict(filter_tag or {}))
    options = restore_options(
        app.settings,
        to=to,
        names=include,
        selection=selection,
        overwrite=overwrite_existing,
        relocate=relocate,
        requester=requester,
    )
    return submit_restore(services, backup=backup, options=options, selection=selection, request_id=request)


@define_entry(names.RECOVER_BACKUP)
def recover_backup(
    services: Services,
    request: str,
    *,
    backup: str,
    to: str,
    overwrite_existing: bool = False,
    requester: str = "",
) -> Submitted:
    """Recover a backup, or the newest of a policy: check the worker's host, restore, compare and validate."""
    from strongroom.operations.procedures.recovery_job import submit_recovery
    from strongroom.wiring.jobs import restore_options

    options = restore_options(app.settings, to=to, overwrite=overwrite_existing, requester=requester)
    return submit_recovery(services, backup=backup, options=options, request_id=request)


@define_entry(names.UNDO_RESTORE)
def undo_restore(
    services: Services,
    request: str,
    *,
    run: str,
    include: Sequence[str] = (),
    filter_tag: Mapping[str, str] | None = None,
    requester: str = "",
) -> Submitted:
    """Undo a restore run: what it replaced comes back, what it created goes. Named secrets, or all."""
    from strongroom.operations.restore.staged import UndoOptions, named_or_tagged
    from strongroom.operations.restore.undo_job import submit_undo

    selection = named_or_tagged(include, filter_tag)
    options = UndoOptions(undoes=run, requester=requester, selection=selection)
    return submit_undo(services, options=options, request_id=request)
