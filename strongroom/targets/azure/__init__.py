"""Azure Blob Storage as a target: block blobs in one container of one account.

Nothing here imports Azure's library until a target is used.
"""

from __future__ import annotations

from strongroom.targets.azure.account import AzureAccount
from strongroom.targets.azure.target import AzureTarget, BlobLock

__all__ = ["AzureAccount", "AzureTarget", "BlobLock"]
