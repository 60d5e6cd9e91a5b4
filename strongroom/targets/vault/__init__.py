"""Backups in a KV version 2 mount of Vault or OpenBao, replicated by the server itself."""

from __future__ import annotations

from strongroom.targets.vault.target import VaultTarget

__all__ = ["VaultTarget"]
