"""KV secrets of HashiCorp Vault and OpenBao, every version with its metadata, and what they rest on."""

from strongroom.sources.vault.source import VaultSource

__all__ = ["VaultSource"]
