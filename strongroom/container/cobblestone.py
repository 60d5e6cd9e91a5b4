"""Cobblestone-256: chunked encryption of a whole message (https://c2sp.org/chunked-encryption).

AES-256-GCM in chunks of 16 KiB under a key, base nonce and commitment from
HKDF-Expand-SHA-512. The last chunk is always shorter than the others, maybe empty, and
that is what marks the end. The commitment makes one message open under one key only.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from io import BytesIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from strongroom.container.errors import Malformed, Tampered, Truncated

Buffer = bytes | bytearray | memoryview

CHUNK = 16 * 1024
TAG = 16
SALT = 24
COMMITMENT = 32
PREFIX = SALT + COMMITMENT

_INFO = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
_KEY, _NONCE = 32, 12


def plain_length(length: int) -> int:
    """Return the plaintext's length for a message of ``length`` bytes.

    Raises :class:`~strongroom.container.errors.Truncated` or
    :class:`~strongroom.container.errors.Malformed` for a length that no message has.
    """
    whole, last = divmod(length - PREFIX, CHUNK + TAG)
    if length < PREFIX + TAG or last == 0:
        raise Truncated("A sealed message ends before its last chunk.")
    if last < TAG:
        raise Malformed("A sealed message has an impossible length.")
    return whole * CHUNK + last - TAG


def seal(key: bytes, plaintext: Buffer, *, context: bytes, _salt: bytes | None = None) -> bytes:
    """Seal ``plaintext`` under a 32-byte key; ``context`` is bound and must be given to open.

    Every call draws a fresh salt, so a key may seal 2^45 messages of up to 1 GiB.
    """
    salt = os.urandom(SALT) if _salt is None else _salt
    aead, base, commitment = _derive(key, salt, context)
    view, encrypt = memoryview(plaintext), aead.encrypt
    # Not a list to join: each chunk's buffer is used again, so large messages cost no fresh pages.
    message = BytesIO()
    message.write(salt + commitment)
    for number, nonce in enumerate(_nonces(base, len(view) // CHUNK + 1)):
        message.write(encrypt(nonce, view[number * CHUNK : (number + 1) * CHUNK], None))
    return message.getvalue()


def open_(key: bytes, message: Buffer, *, context: bytes) -> bytes:
    """Open a whole message, its last chunk included.

    Raises:
        Tampered: the commitment or a chunk does not authenticate: another key, another
            context, or changed bytes.
        Truncated, Malformed: the length is not that of a message.
    """
    chunks = plain_length(len(message)) // CHUNK + 1
    view = memoryview(message)
    aead, base, commitment = _derive(key, bytes(view[:SALT]), context)
    if not hmac.compare_digest(commitment, view[SALT:PREFIX]):
        raise Tampered("A sealed message was not made under this key and for this place.")
    return _open_chunks(aead, view[PREFIX:], _nonces(base, chunks))


def _open_chunks(aead: AESGCM, view: memoryview, nonces: Iterator[bytes]) -> bytes:
    decrypt, step, plain = aead.decrypt, CHUNK + TAG, BytesIO()
    try:
        for number, nonce in enumerate(nonces):
            plain.write(decrypt(nonce, view[number * step : (number + 1) * step], None))
    except InvalidTag:
        raise Tampered("A chunk of a sealed message does not authenticate.") from None
    return plain.getvalue()


def _derive(key: bytes, salt: bytes, context: bytes) -> tuple[AESGCM, int, bytes]:
    if len(key) != _KEY or len(salt) != SALT:
        raise ValueError("Cobblestone-256 takes a 32-byte key and a 24-byte salt")
    size = _KEY + _NONCE + COMMITMENT
    material = HKDFExpand(SHA512(), size, _INFO + salt + context).derive(key)
    base = int.from_bytes(material[_KEY : _KEY + _NONCE], "big")
    return AESGCM(material[:_KEY]), base, material[_KEY + _NONCE :]


def _nonces(base: int, chunks: int) -> Iterator[bytes]:
    for number in range(chunks):
        yield (base ^ number).to_bytes(_NONCE, "big")
