"""A segment's two plaintexts: values, and compressed rows with their digests. Both are padded."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from msgspec import Struct

from strongroom.container import columns
from strongroom.container.digests import SIZE
from strongroom.container.errors import Malformed
from strongroom.container.padding import unpad, zeros
from strongroom.container.rows import SecretRow, decode_rows

MAX_COLUMNS = 32 * 1024 * 1024
_HEAD = struct.Struct(">IIII")


class SegmentRows(Struct, frozen=True):
    """What a rows message holds: the rows, and one digest for each stored value in order."""

    rows: list[SecretRow]
    columns: bytes
    digests: bytes


def pack_values(values: list[bytes], length: int) -> bytes:
    """Return the values one after another, and zeros up to the padded length."""
    return b"".join([*values, zeros(length)])


def check_values(plain: bytes, rows: list[SecretRow]) -> bytes:
    """Return the values without their padding; raise Malformed if it is not exact."""
    return unpad(plain, sum([row.length for row in rows]), "What a segment has of values")


class Packed(Struct, frozen=True):
    """The parts of a rows message: how many rows and values, the length of the columns, these
    compressed, and the digests, which do not compress."""

    rows: int
    values: int
    length: int
    frame: bytes
    digests: bytes

    @classmethod
    def of(cls, parts: Sequence[bytes | bytearray], rows: int, digests: list[bytes]) -> Packed:
        """Compress columns; raise VerificationFailed if they do not come back from that as they were."""
        length, frame = columns.compress(parts)
        return cls(rows, len(digests), length, frame, b"".join(digests))


def join_rows(parts: Packed) -> bytes:
    """Return what a rows message is before it is padded."""
    head = _HEAD.pack(parts.rows, parts.values, parts.length, len(parts.frame))
    return head + parts.frame + parts.digests


def pack_rows(parts: Packed) -> bytes:
    """Return a rows message."""
    message = join_rows(parts)
    return message + zeros(len(message))


def split_rows(plain: bytes) -> Packed:
    """Take apart what :func:`pack_rows` made, without unpacking or parsing the rows."""
    parts, end = part_rows(plain)
    unpad(plain, end, "What a segment has of rows")
    return parts


def part_rows(plain: bytes) -> tuple[Packed, int]:
    """Take apart what :func:`join_rows` made, and return where it ends."""
    if len(plain) < _HEAD.size:
        raise Malformed("A segment's rows are too short.")
    rows, values, length, size = _HEAD.unpack_from(plain)
    digests = _HEAD.size + size
    end = digests + values * SIZE
    if end > len(plain) or length > MAX_COLUMNS:
        raise Malformed("A segment's counts are out of bounds.")
    return Packed(rows, values, length, plain[_HEAD.size : digests], plain[digests:end]), end


def unpack_rows(plain: bytes) -> SegmentRows:
    """Parse strictly what :func:`pack_rows` made."""
    parts = split_rows(plain)
    if not parts.rows:
        raise Malformed("A segment has no rows.")
    data = columns.decompress(parts.frame, parts.length)
    rows = decode_rows(data, parts.rows)
    if sum([v.length is not None for row in rows for v in row.versions]) != parts.values:
        raise Malformed("A segment's digests are not as many as its values.")
    return SegmentRows(rows, data, parts.digests)
