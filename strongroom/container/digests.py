"""Keyed hashes of names and values: HMAC-SHA-256, cut to 16 bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from strongroom.container import derive
from strongroom.container.derive import require_key

SIZE = 16

ValueDigester = Callable[[str, int, bytes], bytes]
"""From a name, a version's number and its value to their digest."""


def name_hash(name_key: bytes, name: str) -> bytes:
    """Return what a backup is sorted and looked up by: HMAC(name key, UTF-8 name)."""
    return keyed_hash(name_key)(name.encode())[:SIZE]


def name_hashes(name_key: bytes, names: Iterable[str]) -> list[bytes]:
    """Return :func:`name_hash` of many names."""
    compute = keyed_hash(name_key)
    return [compute(name.encode())[:SIZE] for name in names]


def value_digest(digest_key: bytes, source: str, name: str, version: int, value: bytes) -> bytes:
    """Return the keyed digest of one version's value, bound to where it belongs.

    Whoever holds both the digest and its key can guess weak values, so the digests lie
    sealed and the key stays with the processes that seal and compare.
    """
    return value_digester(digest_key, source)(name, version, value)


def value_digester(digest_key: bytes, source: str) -> ValueDigester:
    """Return :func:`value_digest` with key and source filled in, for many values."""
    require_key(digest_key, "digest key")
    compute = keyed_hash(digest_key, derive.DIGEST + _prefixed(source))
    return lambda name, number, value: compute(_prefixed(name) + number.to_bytes(8, "big") + value)[:SIZE]


def keyed_hash(key: bytes, prefix: bytes = b"") -> Callable[[bytes], bytes]:
    """Return HMAC-SHA-256 under one key, over ``prefix`` and what it is called with.

    It is set up once and copied: for a hundred thousand short messages that takes half the time of
    setting up as many.
    """
    ready = HMAC(key, SHA256())
    ready.update(prefix)

    def compute(message: bytes) -> bytes:
        mac = ready.copy()
        mac.update(message)
        return mac.finalize()

    return compute


def _prefixed(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "big") + encoded
