"""Chunked encryption of a whole message, the keys of a container, keyed hashes, and lengths that tell
nothing."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from strongroom.container import layout
from strongroom.container.errors import Malformed, Tampered, Truncated
from strongroom.container.layout import Header, header_prefix, message_context
from strongroom.errors import UsageError

# -- Cobblestone-256: chunked encryption of a whole message (https://c2sp.org/chunked-encryption) ---
#
# AES-256-GCM in chunks of 16 KiB under a key, base nonce and commitment from
# HKDF-Expand-SHA-512. The last chunk is always shorter than the others, maybe empty, and
# that is what marks the end. The commitment makes one message open under one key only.


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


# -- Key derivation and the labels that keep keys of different use apart ------------------------


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


# -- The keys of one container, all derived from its file key and file id -----------------------


_LABELS = {layout.VALUES: VALUES, layout.ROWS: ROWS, layout.INDEX: INDEX}


class FileKeys:
    """Seals and opens a container's messages, each bound to its file, kind and number."""

    def __init__(self, file_key: bytes, file_id: bytes) -> None:
        require_key(file_key, "file key")
        prefix = header_prefix(file_id)
        tag = hkdf(file_key, salt=file_id, info=HEADER + prefix)
        self.header = Header(prefix, file_id, tag)
        self._keys = {k: hkdf(file_key, salt=file_id, info=label) for k, label in _LABELS.items()}

    @classmethod
    def of(cls, file_key: bytes, header: Header) -> FileKeys:
        """Return the keys for a header that was read, once its tag is found right."""
        keys = cls(file_key, header.file_id)
        if not hmac.compare_digest(keys.header.raw, header.raw):
            raise Tampered("The header was not made with this file key.")
        return keys

    def seal(self, kind: int, number: int, plain: Buffer, random: Random) -> bytes:
        """Seal a message for its place."""
        context = message_context(self.header.tag, kind, number)
        return seal(self._keys[kind], plain, context=context, _salt=random(SALT))

    def open(self, kind: int, number: int, message: Buffer) -> bytes:
        """Open a message from its place; raise Tampered if it was not made for it."""
        return open_(self._keys[kind], message, context=message_context(self.header.tag, kind, number))


# -- Keyed hashes of names and values: HMAC-SHA-256, cut to 16 bytes ----------------------------


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


def value_digester(digest_key: bytes, source: str) -> ValueDigester:
    """Return what gives the keyed digest of one version's value, bound to where it belongs.

    Whoever holds both the digest and its key can guess weak values, so the digests lie
    sealed and the key stays with the processes that seal and compare.
    """
    require_key(digest_key, "digest key")
    compute = keyed_hash(digest_key, DIGEST + _prefixed(source))
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


# -- Lengths that tell nothing: zeros behind a plaintext, up to one of few lengths --------------


LEAST = 4096


def padded(length: int) -> int:
    """Return the length that ``length`` bytes are padded to.

    Padme (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
    Communication with PURBs", PETS 2019): at most 12 % more, and a file's size tells
    O(log log n) bits of its content's. At least 4 KiB: below that the steps are so short that
    a text of ten bytes, which a compressed neighbour repeats, often shows.
    """
    if length <= LEAST:
        return LEAST
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


def zeros(length: int) -> bytes:
    """Return what is put behind ``length`` bytes."""
    return bytes(padded(length) - length)


def unpad(plain: bytes, length: int, what: str) -> bytes:
    """Return the ``length`` bytes before the padding; raise Malformed if that is not exact."""
    if len(plain) != padded(length) or plain.count(0, length) != len(plain) - length:
        raise Malformed(f"{what} is not padded as the format asks for.")
    return plain[:length]
