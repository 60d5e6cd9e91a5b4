"""Azure Blob Storage as a target, made from its settings."""

from __future__ import annotations

from strongroom.config import AzureTargetSettings, Settings
from strongroom.targets import Target
from strongroom.targets.azure import AzureAccount, AzureTarget, BlobLock


def azure_target(name: str, target: AzureTargetSettings, settings: Settings) -> Target:
    """Return a container of Azure Blob Storage."""
    lock = None
    if target.lock != "none":
        lock = BlobLock(days=target.lock_days, most_days=target.max_lock_days, final=target.lock == "locked")
    account = AzureAccount(
        url=target.account_url,
        container=target.container,
        credential_file=target.credential_file,
        api_version=target.api_version,
        ca_file=target.ca_file,
    )
    return AzureTarget(
        account, name=name, region=target.region, provider=target.provider, prefix=target.prefix, lock=lock
    )
