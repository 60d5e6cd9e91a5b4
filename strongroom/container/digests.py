"""Keyed hashes of names and values: HMAC-SHA-256, cut to 16 bytes."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable

from strongroom.container import derive
from strongroom.container.derive import require_key

SIZE = 16

ValueDigester = Callable[[str, Iterable[tuple[int, bytes]]], list[bytes]]
"""From a name and its version numbers and values to their digests."""


def name_hash(name_key: bytes, name: str) -> bytes:
    """Return what a backup is sorted and looked up by: HMAC(name key, UTF-8 name)."""
    return hmac.digest(name_key, name.encode(), "sha256")[:SIZE]


def name_hashes(name_key: bytes, names: Iterable[str]) -> list[bytes]:
    """Return :func:`name_hash` of many names."""
    digest = hmac.digest
    return [digest(name_key, name.encode(), "sha256")[:SIZE] for name in names]


def value_digest(digest_key: bytes, source: str, name: str, version: int, value: bytes) -> bytes:
    """Return the keyed digest of one version's value, bound to where it belongs.

    Whoever holds both the digest and its key can guess weak values, so the digests lie
    sealed and the key stays with the processes that seal and compare.
    """
    return value_digester(digest_key, source)(name, [(version, value)])[0]


def value_digester(digest_key: bytes, source: str) -> ValueDigester:
    """Return :func:`value_digest` with key and source filled in, for a secret's versions at once."""
    require_key(digest_key, "digest key")
    head, digest = derive.DIGEST + _prefixed(source), hmac.digest

    def compute(name: str, versions: Iterable[tuple[int, bytes]]) -> list[bytes]:
        prefix = head + _prefixed(name)
        return [
            digest(digest_key, prefix + number.to_bytes(8, "big") + value, "sha256")[:SIZE]
            for number, value in versions
        ]

    return compute


def _prefixed(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "big") + encoded
