"""The receiving side of HPKE (RFC 9180, base mode) for a Diffie-Hellman done elsewhere.

An HSM gives the shared point's x-coordinate and nothing else; the rest of Decap (4.1), the
key schedule (5.1) and the one message (5.2, sequence number 0) are done here.
"""

from __future__ import annotations

import hmac
from functools import cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KDFS = {1: "sha256", 2: "sha384", 3: "sha512"}
_AES_KEYS = {1: 16, 2: 32}
_SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}
_NONCE = 12


class _Labeled:
    """LabeledExtract and LabeledExpand (RFC 9180 4) over HMAC (RFC 5869)."""

    __slots__ = ("_hash", "_prefix")

    def __init__(self, suite: bytes, hash_name: str) -> None:
        self._prefix = b"HPKE-v1" + suite
        self._hash = hash_name

    def extract(self, salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(_SIZES[self._hash]), self._prefix + label + ikm, self._hash)

    def expand(self, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
        tail = size.to_bytes(2, "big") + self._prefix + label + info
        block = out = b""
        for counter in range(1, -(-size // _SIZES[self._hash]) + 1):
            block = hmac.digest(prk, block + tail + bytes([counter]), self._hash)
            out += block
        return out[:size]


@cache
def _suite(kem: int, kdf: int, aead: int) -> tuple[_Labeled, bytes]:
    """Return a suite's functions, and the hash of the empty PSK id, which is the suite's own."""
    numbers = b"".join(number.to_bytes(2, "big") for number in (kem, kdf, aead))
    labeled = _Labeled(b"HPKE" + numbers, _KDFS[kdf])
    return labeled, labeled.extract(b"", b"psk_id_hash", b"")


def shared_secret(dh: bytes, *, kem: int, kem_hash: str, enc: bytes, public: bytes) -> bytes:
    """Return ExtractAndExpand(dh, enc || public): the end of DHKEM's Decap."""
    labeled = _Labeled(b"KEM" + kem.to_bytes(2, "big"), kem_hash)
    prk = labeled.extract(b"", b"eae_prk", dh)
    return labeled.expand(prk, b"shared_secret", enc + public, _SIZES[kem_hash])


def open_base(
    secret: bytes, sealed: bytes, *, kem: int, info: bytes, kdf: int = 3, aead: int = 2, aad: bytes = b""
) -> bytes | None:
    """Open the first message of a base-mode context; ``None`` if it was not sealed for this one.

    Args:
        secret: the KEM's shared secret.
        kem, kdf, aead: their numbers in IANA's registry; the AEAD is an AES-GCM.
    """
    labeled, no_psk = _suite(kem, kdf, aead)
    context = b"\x00" + no_psk + labeled.extract(b"", b"info_hash", info)
    prk = labeled.extract(secret, b"secret", b"")
    key = labeled.expand(prk, b"key", context, _AES_KEYS[aead])
    nonce = labeled.expand(prk, b"base_nonce", context, _NONCE)
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        return None
