"""What the local store seals: a secret's attributes with its current version, and, each on
its own, its older versions. Plaintext is ``length(4) | JSON | value``.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from strongroom.model import Media, Rotation, Secret, SecretBytes, Version, VersionState

HEAD = b"head"
OLDER = b"older"


class _Version(Struct, frozen=True, array_like=True, gc=False):
    media: Media
    state: VersionState
    created_at: str | None
    valued: bool


class _Head(Struct, frozen=True, array_like=True):
    """``older`` counts the older versions, so that one cut off is missed."""

    version: _Version
    older: int
    type: str
    tags: dict[str, str]
    created_at: str | None
    updated_at: str | None
    expires_at: str | None
    rotation: Rotation | None
    metadata: dict[str, Any]


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_version = msgspec.json.Decoder(_Version).decode


def pack_head(secret: Secret, *, older: int) -> bytes:
    """Return the plaintext of a secret's row: all but its older versions."""
    current = secret.current
    head = _Head(
        _about(current),
        older,
        secret.type,
        secret.tags,
        secret.created_at,
        secret.updated_at,
        secret.expires_at,
        secret.rotation,
        secret.metadata,
    )
    return _pack(_encode(head), current)


def pack_version(version: Version) -> bytes:
    """Return the plaintext of an older version's row."""
    return _pack(_encode(_about(version)), version)


def unpack_head(plain: bytes, *, name: str, number: int) -> tuple[Secret, int]:
    """Return a secret with its current version, and how many older ones it has."""
    end = 4 + int.from_bytes(plain[:4], "big")
    head = _decode_head(plain[4:end])
    secret = Secret(
        name=name,
        versions=(_version(head.version, number, plain[end:]),),
        type=head.type,
        tags=head.tags,
        created_at=head.created_at,
        updated_at=head.updated_at,
        expires_at=head.expires_at,
        rotation=head.rotation,
        metadata=head.metadata,
    )
    return secret, head.older


def unpack_version(plain: bytes, *, number: int) -> Version:
    """Return an older version."""
    end = 4 + int.from_bytes(plain[:4], "big")
    return _version(_decode_version(plain[4:end]), number, plain[end:])


def _about(version: Version) -> _Version:
    return _Version(version.media, version.state, version.created_at, version.value is not None)


def _pack(about: bytes, version: Version) -> bytes:
    value = version.value.reveal() if version.value is not None else b""
    return len(about).to_bytes(4, "big") + about + value


def _version(about: _Version, number: int, value: bytes) -> Version:
    return Version(
        number=number,
        value=SecretBytes(value) if about.valued else None,
        media=about.media,
        state=about.state,
        created_at=about.created_at,
    )
