"""Key derivation and the labels that keep keys of different use apart."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.errors import UsageError

KEY_SIZE = 32

HEADER = b"strongroom/v1/header"
VALUES = b"strongroom/v1/values"
ROWS = b"strongroom/v1/rows"
INDEX = b"strongroom/v1/index"
FILE_KEY = b"strongroom/v1/file-key/"
RECORD = b"strongroom/v1/wrapping-record"
DIGEST = b"strongroom/v1/digest"

Random = Callable[[int], bytes]


def hkdf(key: bytes, *, salt: bytes, info: bytes) -> bytes:
    """Return 32 bytes of HKDF-SHA-512 (RFC 5869, extract and expand)."""
    return HKDF(SHA512(), KEY_SIZE, salt, info).derive(key)


def require_key(key: bytes, what: str) -> None:
    """Refuse a key that is not 32 bytes; a shorter one would still derive *something*."""
    if len(key) != KEY_SIZE:
        raise UsageError(f"The {what} must be {KEY_SIZE} bytes.")
