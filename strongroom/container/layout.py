"""Where everything lies in a container, and what it says of itself, sealed."""

from __future__ import annotations

import struct

from msgspec import Struct

from strongroom.container.errors import Malformed, UnsupportedVersion, before_first_release

MAGIC = b"SRCT\r\n\x1a\n"
END = b"\nSRCTEND"
VERSION = 1
SUITE = 2
"""AES-256-GCM, HKDF-SHA-512, HMAC-SHA-256, Ed25519. There is no negotiation."""
EARLY_SUITE = 1
"""That of containers from before the first release, which had rows of another layout."""

HEADER = struct.Struct(">8sHHI32s32s")
ENTRY = struct.Struct(">II32s32s")
SIGNATURE = struct.Struct(">32s64s")
TRAILER = struct.Struct(">IIIQ8s")
LEAST = HEADER.size + SIGNATURE.size + TRAILER.size

MAX_SEGMENTS = 65_536
MAX_DIRECTORY = MAX_SEGMENTS * ENTRY.size
MAX_INDEX = 16 * 1024 * 1024
MAX_MESSAGE = 80 * 1024 * 1024

VALUES, ROWS, INDEX = 1, 2, 3
"""Kinds of sealed message, bound into each one's context."""


class Header(Struct, frozen=True):
    """The fixed head. ``tag`` authenticates ``prefix`` and commits to the file key."""

    prefix: bytes
    file_id: bytes
    tag: bytes

    @property
    def raw(self) -> bytes:
        return self.prefix + self.tag


class SegmentEntry(Struct, frozen=True):
    """A segment: a message of values (absent: length 0) and then one of rows."""

    offset: int
    values: int
    rows: int
    values_sha256: bytes
    rows_sha256: bytes

    @property
    def size(self) -> int:
        return self.values + self.rows


class Trailer(Struct, frozen=True):
    """The fixed tail: lengths in bytes."""

    directory: int
    index: int
    envelope: int
    total: int

    @property
    def raw(self) -> bytes:
        return TRAILER.pack(self.directory, self.index, self.envelope, self.total, END)

    @property
    def start(self) -> int:
        """Where the directory begins, which is where the segments end."""
        return self.total - TRAILER.size - SIGNATURE.size - self.envelope - self.index - self.directory


def header_prefix(file_id: bytes) -> bytes:
    """Return the 48 bytes that the header tag is computed over."""
    return HEADER.pack(MAGIC, VERSION, SUITE, 0, file_id, b"")[:48]


def parse_header(data: bytes) -> Header:
    """Parse 80 bytes that begin with the magic; raise UnsupportedVersion."""
    _, version, suite, flags, file_id, tag = HEADER.unpack(data)
    if version != VERSION:
        raise UnsupportedVersion(f"This container has version {version}; this Strongroom knows version 1.")
    if suite == EARLY_SUITE:
        raise before_first_release("This container")
    if suite != SUITE or flags:
        raise UnsupportedVersion("This container uses a suite or flag that this Strongroom does not know.")
    return Header(data[:48], file_id, tag)


def parse_trailer(data: bytes, limits: dict[str, int]) -> Trailer:
    """Parse the last 28 bytes, whose ending has been judged; raise Malformed."""
    trailer = Trailer(*TRAILER.unpack(data)[:4])
    if trailer.start < HEADER.size:
        raise Malformed("The lengths in the trailer do not fit the file.")
    for field, limit in limits.items():
        if getattr(trailer, field) > limit:
            raise Malformed(f"The {field} is larger than the format allows.")
    return trailer


def message_context(tag: bytes, kind: int, number: int) -> bytes:
    """Return what a sealed message is bound to: its file, its kind and its place."""
    return tag + struct.pack(">BI", kind, number)


def parse_directory(data: bytes, end: int) -> tuple[SegmentEntry, ...]:
    """Parse the directory; its segments must tile the file from the header to ``end``."""
    if len(data) % ENTRY.size:
        raise Malformed("The directory's length is not a number of entries.")
    entries, offset = [], HEADER.size
    for values, rows, values_sha256, rows_sha256 in ENTRY.iter_unpack(data):
        if values > MAX_MESSAGE or rows > MAX_MESSAGE or not rows:
            raise Malformed("A segment's length is out of bounds.")
        entries.append(SegmentEntry(offset, values, rows, values_sha256, rows_sha256))
        offset += values + rows
    if offset != end:
        raise Malformed("The segments do not fill the file up to the directory.")
    return tuple(entries)
