"""How the local store seals what it keeps.

AES-256-GCM with random 96-bit nonces. NIST SP 800-38D, section 8.3, allows 2^32 of those
under one key; a store that lives for years must not have to count. So the master key seals
nothing itself: each batch of writes draws a fresh 32-byte salt, and seals under
HKDF-SHA-512(master key, salt), at most :data:`LIMIT` values, where two nonces are equal with
a probability under 2^-56. A key for each value would do as well, but costs ten times the
sealing itself.

A sealed value is ``salt(32) | nonce(12) | ciphertext and tag``. What it belongs to (its
kind, its secret's name and version number) is authenticated with it, so no row can be put
in another's place.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.container.errors import Tampered

LIMIT = 2**20
SALT = 32
NONCE = 12
_HEAD = SALT + NONCE
_DOMAIN = b"strongroom/store/v1/"

Sealer = Callable[[bytes, bytes], bytes]


class Seals:
    """Seals and opens under one master key."""

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._key_of = lru_cache(maxsize=1024)(self._derive_key)

    def check(self) -> bytes:
        """Return 16 bytes that tell this master key from another and give nothing away."""
        return self._derive(b"", b"key-check", 16)

    def batch(self) -> Sealer:
        """Return what seals the values of one batch, each with what it belongs to."""
        return _SealedBatch(self._derive_key).seal

    def open(self, sealed: bytes, bound: bytes, name: str) -> bytes:
        """Return a sealed value; ``name`` is the secret's, for the error.

        Raises:
            Tampered: these are not the bytes that were sealed for this place.
        """
        try:
            return self._key_of(sealed[:SALT]).decrypt(sealed[SALT:_HEAD], sealed[_HEAD:], bound)
        except (InvalidTag, ValueError):
            raise Tampered(
                f"secret {name!r} in the local store is not what was sealed there", hint=HINT
            ) from None

    def _derive_key(self, salt: bytes) -> AESGCM:
        return AESGCM(self._derive(salt, b"values", 32))

    def _derive(self, salt: bytes, purpose: bytes, length: int) -> bytes:
        return HKDF(SHA512(), length, salt, _DOMAIN + purpose).derive(self._master)


HINT = "Keep the store as evidence and restore this secret from a backup."


class _SealedBatch:
    def __init__(self, key_of: Callable[[bytes], AESGCM]) -> None:
        self._key_of = key_of
        self._left = 0

    def seal(self, value: bytes, bound: bytes) -> bytes:
        if self._left == 0:
            self._salt = os.urandom(SALT)
            self._encrypt = self._key_of(self._salt).encrypt
            self._left = LIMIT
        self._left -= 1
        nonce = os.urandom(NONCE)
        return self._salt + nonce + self._encrypt(nonce, value, bound)


def bound_to(kind: bytes, name: str, number: int) -> bytes:
    """Return the authenticated statement of what a sealed value belongs to."""
    return b"%s%s/%d/%s" % (_DOMAIN, kind, number, name.encode())
