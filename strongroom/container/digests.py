"""Keyed hashes of names and values: HMAC-SHA-256, cut to 16 bytes."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from strongroom.container import derive
from strongroom.container.derive import require_key

SIZE = 16

ValueDigest = Callable[[bytes, int, bytes], bytes]


def name_hash(name_key: bytes, name: str) -> bytes:
    """Return what a backup is sorted and looked up by: HMAC(name key, UTF-8 name)."""
    return hmac.digest(name_key, name.encode(), "sha256")[:SIZE]


def value_digest(digest_key: bytes, source: str, name: str, version: int, value: bytes) -> bytes:
    """Return the keyed digest of one version's value, bound to where it belongs.

    Whoever holds both the digest and its key can guess weak values, so the digests lie
    sealed and the key stays with the processes that seal and compare.
    """
    return value_digester(digest_key, source)(name_prefix(name), version, value)


def name_prefix(name: str) -> bytes:
    """Return the length-prefixed name, as the digest's message holds it."""
    encoded = name.encode()
    return len(encoded).to_bytes(4, "big") + encoded


def value_digester(digest_key: bytes, source: str) -> ValueDigest:
    """Return :func:`value_digest` with key and source filled in, for many values."""
    require_key(digest_key, "digest key")
    head, digest = derive.DIGEST + name_prefix(source), hmac.digest

    def compute(prefix: bytes, version: int, value: bytes) -> bytes:
        message = b"%b%b%b%b" % (head, prefix, version.to_bytes(8, "big"), value)
        return digest(digest_key, message, "sha256")[:SIZE]

    return compute
