"""Stores: two targets in one bucket, container or Vault are lost together, and count as one copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never
from urllib.parse import urlsplit

from strongroom.config.checks.context import Context, Finding
from strongroom.config.failure_domains import server
from strongroom.config.model import Settings
from strongroom.config.policies import PolicySettings
from strongroom.config.targets import (
    AzureTargetSettings,
    DirectoryTargetSettings,
    S3TargetSettings,
    VaultTargetSettings,
)

Store = tuple[str, ...]
_PORTS = {"http": 80, "https": 443}


def check(context: Context) -> Iterator[Finding]:
    """Yield policies that would count one store twice."""
    for name, policy in context.settings.policies.items():
        if not context.is_bad("policies", name, "targets"):
            yield from _each_its_own(context, name, policy)


def _each_its_own(context: Context, name: str, policy: PolicySettings) -> Iterator[Finding]:
    first: dict[Store, str] = {}
    for index, target in enumerate(policy.targets):
        store = None if context.is_bad("targets", target) else _store(context.settings, target)
        if store is None or first.setdefault(store, target) == target:
            continue
        yield Finding(
            ("policies", name, "targets", index),
            f"'{target}' and '{first[store]}' lie in one {store[0]}: they are lost together",
            f"Name one of them, or give '{target}' another {store[0]}.",
        )


def _store(settings: Settings, target: str) -> Store | None:
    """Return what is lost as one: prefixes, and two spellings of one address, set nothing apart."""
    match settings.targets.get(target):
        case S3TargetSettings() as found:
            return "bucket", _service(found.endpoint_url), found.bucket
        case AzureTargetSettings() as found:
            return "container", _spelt(found.account_url), found.container
        case VaultTargetSettings() as found:
            return "Vault server", server(settings, found.vault) or found.vault
        case DirectoryTargetSettings() | None:
            return None
        case other:
            assert_never(other)


def _service(endpoint: str | None) -> str:
    """Return the service that gives names to buckets: Amazon's is one, whatever address leads to it."""
    host = urlsplit(endpoint or "").hostname or ""
    return _spelt(endpoint) if endpoint and not host.endswith(".amazonaws.com") else ""


def _spelt(url: str) -> str:
    parts = urlsplit(url)
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}"
