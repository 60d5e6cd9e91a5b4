"""Old versions of blobs: earlier ones, and those that soft deletion still holds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from strongroom.targets.hidden import HiddenVersion

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties, ContainerClient


def old_versions(container: ContainerClient, prefix: str, *, locks: bool) -> Iterable[BlobProperties]:
    """List what is under a prefix and is no current blob.

    Args:
        locks: whether to ask for locks too, which an account without them may refuse.
    """
    include = ["versions", "deleted", *(["immutabilitypolicy"] if locks else [])]
    listed = container.list_blobs(name_starts_with=prefix, include=include)
    return (blob for blob in listed if blob.deleted or (blob.version_id and not blob.is_current_version))


def hidden_version(name: str, blob: BlobProperties, *, locks: bool, now: datetime) -> HiddenVersion:
    """Say what is known of an old version.

    Soft deletion tells its days. What a lifecycle policy of the account removes is set in the
    resource manager, which a credential for blobs does not reach: that is not known.
    """
    locked: datetime | None = blob.immutability_policy.expiry_time
    days = blob.remaining_retention_days
    return HiddenVersion(
        name=name,
        size=int(blob.size or 0),
        locked_until=locked.astimezone(UTC) if locked is not None and locked > now else None,
        expires=now + timedelta(days=days) if blob.deleted and days is not None else None,
        lock_known=locks,
        rule_known=bool(blob.deleted and days is not None),
    )
