"""What the worked examples need of HKDF."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA512(), 32, salt, info).derive(key)
