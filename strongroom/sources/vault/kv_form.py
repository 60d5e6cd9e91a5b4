"""What of a secret a KV v2 key can keep: the form in which written and read back are compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from strongroom.model import Media, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.sources.vault import wrapping
from strongroom.sources.vault.convention import understood
from strongroom.sources.vault.roles import ROLE, effective
from strongroom.sources.vault.secrets import VAULT, custom_of, facts_of, free_of

MOST_KEYS, LONGEST_KEY, LONGEST_VALUE = 64, 128, 512
"""Limits of custom metadata: ``builtin/logical/kv/path_metadata.go`` of OpenBao, the same in Vault."""
_EXACT = 2**53
_decimals = msgspec.json.Decoder(float_hook=Decimal).decode
_MANY_DIGITS = re.compile(rb"[0-9.]{16,}")
"""Whatever has fewer digits is the same as a double."""


def kept(secret: Secret) -> Secret:
    """Return what can be kept: no times of the server's own making, no place, settings of the key."""
    custom = fitting(custom_of(secret) or {})
    custom.pop(wrapping.MARK, None)
    free = free_of(custom)
    meaning = understood(custom)
    settings = _settings(secret) | ({"custom_metadata": meaning.rest} if meaning.rest else {})
    return Secret(
        name=secret.name,
        versions=_versions(secret.versions, is_role=secret.type == ROLE),
        type=meaning.type,
        tags=meaning.tags,
        expires_at=meaning.expires_at,
        rotation=meaning.rotation,
        metadata=free | ({VAULT: settings} if settings else {}),
    )


def fitting(custom: Mapping[str, str]) -> dict[str, str]:
    """Return the custom metadata that the server accepts."""
    fits = [key for key, value in custom.items() if _fits(key, LONGEST_KEY) and _fits(value, LONGEST_VALUE)]
    return {key: custom[key] for key in fits[:MOST_KEYS]}


def _fits(text: str, longest: int) -> bool:
    return 0 < len(text.encode(errors="replace")) <= longest and text.isprintable()


def _settings(secret: Secret) -> dict[str, Any]:
    facts = facts_of(secret)
    if facts is None:
        return {}
    named = {
        "max_versions": facts.max_versions,
        "cas_required": facts.cas_required,
        "metadata_cas_required": facts.metadata_cas_required,
        "delete_version_after": facts.delete_version_after,
    }
    return {name: value for name, value in named.items() if value and value != "0s"}


def _versions(versions: tuple[SecretVersion, ...], *, is_role: bool) -> tuple[SecretVersion, ...]:
    """A destroyed version and one that is long gone are the same nothing."""
    older = [version for version in versions[:-1] if version.state is not VersionState.DESTROYED]
    return tuple(_canonical(version, is_role=is_role) for version in (*older, *versions[-1:]))


def _canonical(version: SecretVersion, *, is_role: bool) -> SecretVersion:
    if version.value is None:
        return SecretVersion(number=version.number, state=version.state)
    if version.media is not Media.JSON:
        return replace(version, created_at=None)
    raw = canonical(version.value.reveal(), is_role=is_role)
    return replace(version, created_at=None, value=SecretBytes(raw))


def canonical(raw: bytes, *, is_role: bool = False) -> bytes:
    """Spell JSON in one way. The server spells it anew, and reads integers above 2^53 as doubles.

    Args:
        is_role: whether it is a role, whose parameters may have older names.
    """
    try:
        found = _rounded(msgspec.json.decode(raw))
        if is_role and isinstance(found, dict):
            found = effective(found)
        return msgspec.json.encode(found, order="sorted")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return raw


def keeps_numbers(raw: bytes) -> bool:
    """Say whether KV version 2 gives every number of a JSON value back as it is: it reads all as doubles."""
    if not _MANY_DIGITS.search(raw):
        return True
    try:
        return _exact(_decimals(raw))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True


def _exact(found: Any) -> bool:
    if isinstance(found, dict):
        return all(map(_exact, found.values()))
    if isinstance(found, list):
        return all(map(_exact, found))
    if not isinstance(found, int | Decimal) or isinstance(found, bool):
        return True
    try:
        return Decimal(repr(float(found))) == found
    except OverflowError:
        return False


def _rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _rounded(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_rounded(value) for value in found]
    if isinstance(found, float) and found.is_integer() and abs(found) <= _EXACT:
        return int(found)  # 1.0 comes back as 1
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) > _EXACT:
        return _rounded(_double(found))  # it may come out as 2^53 itself
    return found


def _double(number: int) -> float | str:
    try:
        return float(number)
    except OverflowError:
        return str(number)
