"""Asking for a backup::

from tasks.backup import full_backup
full_backup.delay(policy="weekly-critical")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import UsageError
from workers import names
from workers.app import app
from workers.entry import define_entry

if TYPE_CHECKING:
    from strongroom.operations.engine.services import Services
    from strongroom.operations.engine.submit import Submitted


@define_entry(names.BACKUP_FULL)
def full_backup(services: Services, request: str, *, policy: str) -> Submitted:
    """Back up what a policy of kind ``full`` selects, values included, sealed."""
    return _backup(services, request, policy, kind="full")


@define_entry(names.BACKUP_METADATA)
def metadata_backup(services: Services, request: str, *, policy: str) -> Submitted:
    """Back up what a policy of kind ``metadata`` selects: names, dates and tags, no values."""
    return _backup(services, request, policy, kind="metadata")


def _backup(services: Services, request: str, policy: str, *, kind: str) -> Submitted:
    from strongroom.operations.backup.job import submit_backup

    _check_kind(policy, kind)
    return submit_backup(services, policy=policy, request_id=request)


def _check_kind(policy: str, kind: str) -> None:
    policies = app.settings.policies
    if policy not in policies or policies[policy].kind != kind:
        known = ", ".join(name for name, other in policies.items() if other.kind == kind) or "none"
        raise UsageError(f"there is no {kind} policy '{policy}'; there is: {known}", hint="")
