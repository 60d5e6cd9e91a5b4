"""A whole backup in one file: its objects one after another, an index, a trailer.

::

    magic 8, version 2 | objects | index (JSON) | trailer 52:
    length of the index 4, SHA-256 of the index 32, length of the file 8, end 8

This is the frame alone, as bytes. :mod:`strongroom.targets.single_file` reads and writes such files.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator

from msgspec import Struct

from strongroom.container import canonical
from strongroom.container.canonical import unhex
from strongroom.container.document import SEARCH, binary_ending, check_binary_ending
from strongroom.container.errors import Malformed, NotABackup, Tampered, Truncated, UnsupportedVersion
from strongroom.container.ranges import RangeReader, read_exactly
from strongroom.model import prepare

MAGIC = b"SRBF\r\n\x1a\n"
END = b"\nSRBFEND"
VERSION = 1
HEAD = struct.Struct(">8sH")
TRAILER = struct.Struct(">I32sQ8s")
MAX_INDEX = 64 * 1024 * 1024
BEGINNING = HEAD.pack(MAGIC, VERSION)

_BLOCK = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class Object(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One object in a bundle. ``offset`` and ``size`` in bytes, ``sha256`` in hex."""

    name: str
    offset: int
    size: int
    sha256: str


class _BundleIndex(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    objects: tuple[Object, ...]


prepare(_BundleIndex)


def is_name(name: str) -> bool:
    """Tell whether an object may have a name."""
    return _NAME.fullmatch(name) is not None


def ending(objects: Iterable[Object], end: int) -> bytes:
    """Return the index and the trailer of a file whose objects end at ``end``."""
    index = canonical.encode(_BundleIndex(objects=tuple(objects)))
    total = end + len(index) + TRAILER.size
    return index + TRAILER.pack(len(index), hashlib.sha256(index).digest(), total, END)


def read_index(reader: RangeReader) -> tuple[Object, ...]:
    """Read and check a bundle's frame and index; the objects must tile the file."""
    head = reader.read(0, HEAD.size)
    tail = reader.read(max(0, reader.size - SEARCH), min(SEARCH, reader.size))
    _check_head(head, tail, reader.size)
    check_binary_ending(tail, reader.size, END, what="backup file")
    length, digest, _, _ = TRAILER.unpack(tail[-TRAILER.size :])
    start = reader.size - TRAILER.size - length
    if start < HEAD.size or length > MAX_INDEX:
        raise Malformed("The length in the trailer does not fit the file.")
    data = read_exactly(reader, start, length)
    if hashlib.sha256(data).digest() != digest:
        raise Tampered("The backup file's index was altered.")
    objects = canonical.decode(data, _BundleIndex, "The backup file's index").objects
    _check_tiling(objects, start)
    return objects


def _check_head(head: bytes, tail: bytes, size: int) -> None:
    if not head.startswith(MAGIC):
        if MAGIC.startswith(head):
            raise Truncated("The backup file ends too early.")
        if binary_ending(tail, size, END) == (True, True):
            raise Tampered("The beginning of the backup file was altered.")
        raise NotABackup("This is not a Strongroom backup file.")
    if size < HEAD.size + TRAILER.size:
        raise Truncated("The backup file ends too early.")
    version = HEAD.unpack(head)[1]
    if version != VERSION:
        raise UnsupportedVersion(
            f"This backup file has version {version}; this Strongroom knows version {VERSION}."
        )


def _check_tiling(objects: tuple[Object, ...], end: int) -> None:
    offset = HEAD.size
    names = set()
    for entry in objects:
        unhex(entry.sha256, 32, "An object's digest")
        if not is_name(entry.name) or entry.name in names:
            raise Malformed("An object's name is impossible or there twice.")
        if entry.offset != offset or entry.size < 0:
            raise Malformed("The objects do not lie one after another.")
        names.add(entry.name)
        offset += entry.size
    if offset != end:
        raise Malformed("The objects do not fill the file up to the index.")


def check_objects(reader: RangeReader, objects: Iterable[Object]) -> None:
    """Read objects whole and compare each with its SHA-256; raise Tampered."""
    for entry in objects:
        for _ in read_object(reader, entry):
            pass


def read_object(reader: RangeReader, entry: Object) -> Iterator[bytes]:
    """Yield an object in blocks; raise Tampered at its end unless its SHA-256 is that of the index."""
    digest = hashlib.sha256()
    for at in range(0, entry.size, _BLOCK):
        block = read_exactly(reader, entry.offset + at, min(_BLOCK, entry.size - at))
        digest.update(block)
        yield block
    if digest.hexdigest() != entry.sha256:
        raise Tampered(f"{entry.name!r} is not the object that was put into the file.")
