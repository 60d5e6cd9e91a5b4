"""What the local store seals: a secret's attributes with its current version, and, each on
its own, its older versions. Plaintext is ``length(4) | JSON | value``.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from strongroom import freeform
from strongroom.model import Media, RotationSchedule, Secret, SecretBytes, SecretVersion, VersionState

HEAD = b"head"
OLDER = b"older"


class _Older(Struct, frozen=True, array_like=True, gc=False):
    """An older version; ``valued`` tells an empty value from none."""

    media: Media
    state: VersionState
    created_at: str | None
    valued: bool


class _Head(Struct, frozen=True, array_like=True, gc=False):
    """The current version, how many older ones there are (so that one cut off is missed),
    and the secret's attributes."""

    media: Media
    state: VersionState
    version_created_at: str | None
    valued: bool
    older: int
    type: str
    tags: dict[str, str]
    created_at: str | None
    updated_at: str | None
    expires_at: str | None
    rotation: RotationSchedule | None
    metadata: dict[str, Any]


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head, float_hook=freeform.number).decode
_decode_older = msgspec.json.Decoder(_Older).decode


def pack_head(secret: Secret, current: SecretVersion, older: int) -> bytes:
    """Return the plaintext of a secret's row: all but its older versions."""
    head = _Head(
        current.media,
        current.state,
        current.created_at,
        current.value is not None,
        older,
        secret.type,
        secret.tags,
        secret.created_at,
        secret.updated_at,
        secret.expires_at,
        secret.rotation,
        secret.metadata,
    )
    return _pack(_encode(head), current.value)


def pack_older(version: SecretVersion) -> bytes:
    """Return the plaintext of an older version's row."""
    about = _Older(version.media, version.state, version.created_at, version.value is not None)
    return _pack(_encode(about), version.value)


def unpack_head(plain: bytes, name: str, number: int) -> tuple[Secret, int]:
    """Return a secret with its current version alone, and how many older ones it has."""
    end = 4 + int.from_bytes(plain[:4], "big")
    head = _decode_head(plain[4:end])
    current = SecretVersion(
        number=number,
        value=SecretBytes(plain[end:]) if head.valued else None,
        media=head.media,
        state=head.state,
        created_at=head.version_created_at,
    )
    secret = Secret(
        name=name,
        versions=(current,),
        type=head.type,
        tags=head.tags,
        created_at=head.created_at,
        updated_at=head.updated_at,
        expires_at=head.expires_at,
        rotation=head.rotation,
        metadata=_metadata(plain[4:end], head),
    )
    return secret, head.older


def _metadata(about: bytes, head: _Head) -> dict[str, Any]:
    """Return the metadata with its numbers as they were written."""
    if not freeform.may_lose_a_sign(about):
        return head.metadata
    found: dict[str, Any] = freeform.decode(msgspec.json.decode(about, type=list[Raw])[-1])
    return found


def unpack_older(plain: bytes, number: int) -> SecretVersion:
    """Return an older version."""
    end = 4 + int.from_bytes(plain[:4], "big")
    older = _decode_older(plain[4:end])
    return SecretVersion(
        number=number,
        value=SecretBytes(plain[end:]) if older.valued else None,
        media=older.media,
        state=older.state,
        created_at=older.created_at,
    )


def _pack(about: bytes, value: SecretBytes | None) -> bytes:
    return len(about).to_bytes(4, "big") + about + (b"" if value is None else value.reveal())
