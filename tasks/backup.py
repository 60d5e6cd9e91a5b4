"""Asking for a backup::

from tasks.backup import full_backup
full_backup.delay(policy="weekly-critical")
"""

from __future__ import annotations

from strongroom.errors import UsageError
from tasks.submitting import submit
from workers import names
from workers.app import app
from workers.base import define


@define(names.BACKUP_FULL)
def full_backup(*, policy: str) -> str:
    """Back up what a policy of kind ``full`` selects, values included, sealed."""
    return _backup(policy, kind="full")


@define(names.BACKUP_METADATA)
def metadata_backup(*, policy: str) -> str:
    """Back up what a policy of kind ``metadata`` selects: names, dates and tags, no values."""
    return _backup(policy, kind="metadata")


def _backup(policy: str, *, kind: str) -> str:
    from strongroom.operations.submit import submit_backup  # noqa: PLC0415

    configured = app.settings.policies.get(policy)
    if configured is None or configured.kind != kind:
        known = [name for name, other in app.settings.policies.items() if other.kind == kind]
        raise UsageError(f"there is no {kind} policy '{policy}' (there is: {', '.join(known) or 'none'})")
    return submit(lambda services, request: submit_backup(services, policy=policy, request_id=request))
