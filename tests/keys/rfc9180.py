"""Opening an HPKE message, written from RFC 9180 and the X-Wing draft alone.

A second implementation beside the library's: what Strongroom writes has to open with it,
and it has to open the published vectors. Base mode, sequence number 0.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

DHKEM_X25519, MLKEM768_X25519 = 0x0020, 0x647A
HASHES = {1: "sha256", 3: "sha512"}
AEADS: dict[int, tuple[type[AESGCM | ChaCha20Poly1305], int]] = {
    1: (AESGCM, 16),
    2: (AESGCM, 32),
    3: (ChaCha20Poly1305, 32),
}


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


class _Labeled:
    """LabeledExtract and LabeledExpand (RFC 9180 4)."""

    def __init__(self, suite: bytes, hash_name: str) -> None:
        self._prefix, self._hash = b"HPKE-v1" + suite, hash_name

    def extract(self, salt: bytes, label: bytes, ikm: bytes) -> bytes:
        salt = salt or bytes(hashlib.new(self._hash).digest_size)
        return hmac.digest(salt, self._prefix + label + ikm, self._hash)

    def expand(self, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
        block, out, counter = b"", b"", 1
        while len(out) < size:
            block = hmac.digest(
                prk, block + _u16(size) + self._prefix + label + info + bytes([counter]), self._hash
            )
            out, counter = out + block, counter + 1
        return out[:size]


def shared_secret(kem: int, private: bytes, enc: bytes) -> bytes:
    """Decapsulate (RFC 9180 4.1; draft-connolly-cfrg-xwing-kem 5.5)."""
    if kem == DHKEM_X25519:
        key = X25519PrivateKey.from_private_bytes(private)
        dh, public = key.exchange(X25519PublicKey.from_public_bytes(enc)), key.public_key().public_bytes_raw()
        labeled = _Labeled(b"KEM" + _u16(kem), "sha256")
        return labeled.expand(labeled.extract(b"", b"eae_prk", dh), b"shared_secret", enc + public, 32)
    stretched = hashlib.shake_256(private).digest(96)
    curve = X25519PrivateKey.from_private_bytes(stretched[64:])
    lattice = MLKEM768PrivateKey.from_seed_bytes(stretched[:64]).decapsulate(enc[:1088])
    dh = curve.exchange(X25519PublicKey.from_public_bytes(enc[1088:]))
    public = curve.public_key().public_bytes_raw()
    return hashlib.sha3_256(lattice + dh + enc[1088:] + public + b"\\.//^\\").digest()


def open_base(
    kem: int, kdf: int, aead: int, secret: bytes, sealed: bytes, *, info: bytes, aad: bytes = b""
) -> bytes:
    """Run the key schedule (RFC 9180 5.1) and open the first message."""
    labeled = _Labeled(b"HPKE" + _u16(kem) + _u16(kdf) + _u16(aead), HASHES[kdf])
    context = b"\x00" + labeled.extract(b"", b"psk_id_hash", b"") + labeled.extract(b"", b"info_hash", info)
    prk = labeled.extract(secret, b"secret", b"")
    cipher, size = AEADS[aead]
    key, nonce = labeled.expand(prk, b"key", context, size), labeled.expand(prk, b"base_nonce", context, 12)
    return cipher(key).decrypt(nonce, sealed, aad)
