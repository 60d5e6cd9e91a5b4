"""Locks on blobs: version-level immutability policies, where the account has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from azure.storage.blob import ImmutabilityPolicy
from msgspec import Struct

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, ContainerClient


class BlobLock(Struct, frozen=True, kw_only=True):
    """How long an object cannot be changed or deleted.

    ``days`` count from when it is put, ``most_days`` cap every extension. A ``final`` lock
    can be shortened by nobody; another one by who holds that right.
    """

    days: int = 7
    most_days: int = 3_650
    final: bool = False

    @property
    def mode(self) -> str:
        """The service's name for it."""
        return "Locked" if self.final else "Unlocked"

    def capped(self, until: datetime) -> datetime:
        """Return ``until``, or the latest moment that a lock may be set to now."""
        return min(until, datetime.now(UTC) + timedelta(days=self.most_days))


def can_lock(container: ContainerClient) -> bool:
    """Ask whether single blobs of a container can be locked."""
    return bool(container.get_container_properties().immutable_storage_with_versioning_enabled)


def at_put(lock: BlobLock) -> dict[str, Any]:
    """Return the options that lock a blob in the request that creates it."""
    until = lock.capped(datetime.now(UTC) + timedelta(days=lock.days))
    return {"immutability_policy": ImmutabilityPolicy(expiry_time=until, policy_mode=lock.mode)}


def end_of(blob: BlobClient) -> datetime | None:
    """Return when a blob's lock ends (UTC); ``None`` if it has none, or had one."""
    until: datetime | None = blob.get_blob_properties().immutability_policy.expiry_time
    return until if until is not None and until > datetime.now(UTC) else None


def extend(blob: BlobClient, lock: BlobLock, until: datetime) -> datetime:
    """Lock a blob until then at least, within the cap; return when its lock ends now."""
    now, wanted = end_of(blob), lock.capped(until)
    if now is not None and now >= wanted:
        return now
    blob.set_immutability_policy(ImmutabilityPolicy(expiry_time=wanted, policy_mode=lock.mode))
    return wanted
