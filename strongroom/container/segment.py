"""A segment's two plaintexts: padded values, and compressed rows with their digests."""

from __future__ import annotations

import struct

import zstandard
from msgspec import Struct

from strongroom.container.digests import SIZE
from strongroom.container.errors import Malformed, VerificationFailed
from strongroom.container.rows import Row, decode_rows

LEAST_VALUES = 1024
MAX_JSON = 32 * 1024 * 1024
_HEAD = struct.Struct(">III")
_LEVEL = 1


class Rows(Struct, frozen=True):
    """What a rows message holds: the rows, and one digest for each stored value in order."""

    rows: list[Row]
    json: bytes
    digests: bytes


def padded(length: int) -> int:
    """Return the length that values of ``length`` bytes are padded to.

    Padme (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
    Communication with PURBs", PETS 2019): at most 12 % more, and a file's size tells
    O(log log n) bits of its content's. At least 1 KiB, for one short password's length
    would show otherwise.
    """
    if length <= LEAST_VALUES:
        return LEAST_VALUES
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


def pack_values(values: list[bytes], length: int) -> bytes:
    """Return the values one after another, and zeros up to the padded length."""
    return b"".join([*values, bytes(padded(length) - length)])


def check_values(plain: bytes, rows: list[Row]) -> bytes:
    """Return the values without their padding; raise Malformed if it is not exact."""
    length = sum([row.length for row in rows])
    if len(plain) != padded(length) or plain.count(0, length) != len(plain) - length:
        raise Malformed("A segment's values are not padded as the format asks for.")
    return plain[:length]


class Packed(Struct, frozen=True):
    """The parts of a rows message: how many rows and values, the length of the rows as JSON lines, these
    compressed, and the digests, which do not compress."""

    rows: int
    values: int
    length: int
    frame: bytes
    digests: bytes

    @classmethod
    def of(cls, json: bytes | bytearray, rows: int, digests: list[bytes]) -> Packed:
        """Compress rows; raise VerificationFailed if they do not come back from that as they were."""
        frame = zstandard.ZstdCompressor(level=_LEVEL).compress(json)
        if _decompress(frame, len(json)) != json:
            raise VerificationFailed("What was compressed does not come back as it was.")
        return cls(rows, len(digests), len(json), frame, b"".join(digests))


def pack_rows(parts: Packed) -> bytes:
    """Return a rows message."""
    return _HEAD.pack(parts.rows, parts.values, parts.length) + parts.frame + parts.digests


def split_rows(plain: bytes) -> Packed:
    """Take apart what :func:`pack_rows` made, without unpacking or parsing the rows."""
    if len(plain) < _HEAD.size:
        raise Malformed("A segment's rows are too short.")
    rows, values, length = _HEAD.unpack_from(plain)
    end = len(plain) - values * SIZE
    if end < _HEAD.size or length > MAX_JSON:
        raise Malformed("A segment's counts are out of bounds.")
    return Packed(rows, values, length, plain[_HEAD.size : end], plain[end:])


def unpack_rows(plain: bytes) -> Rows:
    """Parse strictly what :func:`pack_rows` made."""
    parts = split_rows(plain)
    json = _decompress(parts.frame, parts.length)
    rows = decode_rows(json)
    if len(rows) != parts.rows or not rows:
        raise Malformed("A segment's rows are not as many as it says.")
    if sum([v.length is not None for row in rows for v in row.versions]) != parts.values:
        raise Malformed("A segment's digests are not as many as its values.")
    return Rows(rows, json, parts.digests)


def _decompress(frame: bytes, length: int) -> bytes:
    # The frame's own size field is compared first, so that no frame makes us allocate
    # more than the limit already checked.
    try:
        if zstandard.get_frame_parameters(frame).content_size != length:
            raise Malformed("A compressed frame is not of the length it should have.")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError:
        raise Malformed("A compressed frame is damaged.") from None
