"""A KV key as a secret, and what of it only Vault understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from strongroom import freeform
from strongroom.model import Secret, SecretVersion, VersionState, prepare
from strongroom.sources.vault import wrapping
from strongroom.sources.vault.convention import spelled, understood
from strongroom.sources.vault.records import KeyInfo, Mount, MountConfig

VAULT = "vault"
"""The member of a secret's metadata that holds its :class:`Facts`."""
FREE = "strongroom.metadata"
"""Custom metadata that holds the free-form metadata of a secret from elsewhere, as JSON."""
EMPTY = SecretVersion(number=0, state=VersionState.DESTROYED)
"""Stands for a key that has metadata and never had a version."""


class VaultFacts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What restoring needs to know beyond the secret itself. Defaults are left out.

    ``custom_metadata`` is what the convention leaves over; ``None`` if there was not any.
    The mount's settings stand here because they decide what a key's mean.
    """

    namespace: str = ""
    mount: str = ""
    kv: int = 2
    max_versions: int = 0
    cas_required: bool = False
    metadata_cas_required: bool = False
    delete_version_after: str = "0s"
    oldest_version: int = 0
    current_metadata_version: int = 0
    deletion_times: dict[str, str] = {}
    custom_metadata: dict[str, str] | None = None
    mount_max_versions: int = 0
    mount_delete_version_after: str = "0s"


prepare(VaultFacts)


def secret_of(
    name: str,
    mount: Mount,
    config: MountConfig | None,
    info: KeyInfo,
    versions: tuple[SecretVersion, ...],
    *,
    tag_metadata: frozenset[str] = frozenset(),
) -> Secret:
    """Make a secret of what was read."""
    custom = dict(info.custom_metadata or {})
    if custom.get(wrapping.MARK) == "true":
        inner = tuple(map(wrapping.unwrapped, versions))
        if inner != versions:  # else somebody set the mark by hand, and it stays what it is
            del custom[wrapping.MARK]
        versions = inner
    free = free_of(custom)
    meaning = understood(custom, tag_metadata=tag_metadata)
    rest = None if info.custom_metadata is None else meaning.rest
    facts = _facts(mount, config or MountConfig(), info, rest)
    return Secret(
        name=name,
        versions=versions or (EMPTY,),
        type=meaning.type,
        tags=meaning.tags,
        created_at=info.created_time or None,
        updated_at=info.updated_time or None,
        expires_at=meaning.expires_at,
        rotation=meaning.rotation,
        metadata=free | {VAULT: msgspec.to_builtins(facts)},
    )


def facts_of(secret: Secret) -> VaultFacts | None:
    """Return what a secret knows of the Vault that it comes from; ``None`` if it comes from elsewhere."""
    found = secret.metadata.get(VAULT)
    try:
        return msgspec.convert(found, VaultFacts) if isinstance(found, dict) else None
    except msgspec.ValidationError:
        return None


def custom_of(secret: Secret) -> dict[str, str] | None:
    """Return the custom metadata that says all that it can of a secret; ``None`` for none at all."""
    facts = facts_of(secret)
    rest = (facts.custom_metadata if facts else None) or {}
    custom = spelled(secret, rest)
    free = {key: value for key, value in secret.metadata.items() if key != VAULT}
    if free:
        custom[FREE] = msgspec.json.encode(free, order="sorted").decode()
    if wrapping.needs_wrapping(secret.versions):
        custom[wrapping.MARK] = "true"
    if not custom and (facts is None or facts.custom_metadata is None):
        return None
    return custom


def data_of(version: SecretVersion, *, wrap: bool) -> bytes:
    """Return the JSON object to write for a version that has a value."""
    assert version.value is not None
    return wrapping.wrapped(version) if wrap else version.value.reveal()


def free_of(custom: dict[str, str]) -> dict[str, Any]:
    """Take free-form metadata out of custom metadata, if it is there and whole."""
    if FREE not in custom:
        return {}
    try:
        found = freeform.decode(custom[FREE].encode())
    except msgspec.DecodeError:
        return {}
    if not isinstance(found, dict) or VAULT in found:
        return {}
    del custom[FREE]
    return found


def _facts(mount: Mount, config: MountConfig, info: KeyInfo, rest: Mapping[str, str] | None) -> VaultFacts:
    if mount.version == 1:
        return VaultFacts(namespace=mount.namespace, mount=mount.path, kv=1)
    return VaultFacts(
        namespace=mount.namespace,
        mount=mount.path,
        max_versions=info.max_versions,
        cas_required=info.cas_required,
        metadata_cas_required=info.metadata_cas_required,
        delete_version_after=info.delete_version_after,
        oldest_version=info.oldest_version,
        current_metadata_version=info.current_metadata_version,
        deletion_times={str(n): at.deletion_time for n, at in info.versions.items() if at.deletion_time},
        custom_metadata=None if rest is None else dict(rest),
        mount_max_versions=config.max_versions,
        mount_delete_version_after=config.delete_version_after,
    )
