"""Takes off what may lie around a value: compression, base64, hex. Found by magic, anywhere."""

from __future__ import annotations

import base64
import binascii
import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator

import zstandard

LARGEST = 64 * 1024 * 1024
"""Bytes of one layer that are looked at: no bomb fills the memory."""

Layer = tuple[str, bytes]
Unpack = Callable[[memoryview], bytes]

_ZLIB = re.compile(rb"[\x08\x18\x28\x38\x48\x58\x68\x78](?=[\x00-\xff])", re.DOTALL)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){16,}")
_PLAIN = bytes.maketrans(b"-_", b"+/")


def peeled(data: bytes) -> Iterator[Layer]:
    """Yield the content of everything in ``data`` that can be taken apart, and where it was."""
    for unpack in (_zlib, _gzip, _zstd, _bz2, _xz, _lzf, _base64, _hex):
        yield from unpack(data)


def _at(data: bytes, magic: bytes) -> Iterator[int]:
    position = data.find(magic)
    while position >= 0:
        yield position
        position = data.find(magic, position + 1)


def _each(name: str, data: bytes, places: Iterator[int], unpack: Unpack) -> Iterator[Layer]:
    view = memoryview(data)  # a slice of it copies nothing
    for position in places:
        try:
            content = unpack(view[position:])
        except (zlib.error, zstandard.ZstdError, OSError, lzma.LZMAError, EOFError, ValueError, MemoryError):
            continue
        if content:
            yield f"{name} at {position}", content


def _zlib(data: bytes) -> Iterator[Layer]:
    starts = (match.start() for match in _ZLIB.finditer(data))
    valid = (at for at in starts if int.from_bytes(data[at : at + 2], "big") % 31 == 0)
    yield from _each("zlib", data, valid, lambda rest: zlib.decompressobj().decompress(rest, LARGEST))


def _gzip(data: bytes) -> Iterator[Layer]:
    yield from _each(
        "gzip",
        data,
        _at(data, b"\x1f\x8b\x08"),
        lambda rest: zlib.decompressobj(31).decompress(rest, LARGEST),
    )


def _zstd(data: bytes) -> Iterator[Layer]:
    def unpack(rest: memoryview) -> bytes:
        with zstandard.ZstdDecompressor().stream_reader(rest) as reader:
            content = b""
            while len(content) < LARGEST and (chunk := _or_end(reader)):
                content += chunk
            return content

    yield from _each("zstd", data, _at(data, b"\x28\xb5\x2f\xfd"), unpack)


def _or_end(reader: zstandard.ZstdDecompressionReader) -> bytes:
    """Read on; what was cut off later still gives what came before."""
    try:
        return reader.read(1024 * 1024)
    except zstandard.ZstdError:
        return b""


def _bz2(data: bytes) -> Iterator[Layer]:
    yield from _each(
        "bzip2", data, _at(data, b"BZh"), lambda rest: bz2.BZ2Decompressor().decompress(rest, LARGEST)
    )


def _xz(data: bytes) -> Iterator[Layer]:
    yield from _each(
        "xz", data, _at(data, b"\xfd7zXZ\0"), lambda rest: lzma.LZMADecompressor().decompress(rest, LARGEST)
    )


# -- Redis: strings in a saved file are LZF-compressed (rdb.c, RDB_ENC_LZF) ----------


def _lzf(data: bytes) -> Iterator[Layer]:
    if data.startswith((b"REDIS", b"VALKEY")):
        yield from _each("LZF", data, _at(data, b"\xc3"), _lzf_string)


def _lzf_string(rest: memoryview) -> bytes:
    packed, at = _rdb_length(rest, 1)
    size, at = _rdb_length(rest, at)
    if not 0 < packed < size <= LARGEST or at + packed > len(rest):
        raise ValueError
    return _unlzf(rest[at : at + packed], size)


def _rdb_length(data: memoryview, at: int) -> tuple[int, int]:
    """Decode a length (rdb.c, ``rdbLoadLen``); return it and where it ends."""
    first = data[at] if at < len(data) else 0xC0
    if first < 0x40:
        return first, at + 1
    if first < 0x80:
        return (first & 0x3F) << 8 | int.from_bytes(data[at + 1 : at + 2], "big"), at + 2
    if first == 0x80:
        return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
    raise ValueError


def _unlzf(packed: memoryview, size: int) -> bytes:
    """Decompress LZF (lzf_d.c of LibLZF): runs of literals, and references backwards."""
    out = bytearray()
    at = 0
    while at < len(packed):
        control, at = packed[at], at + 1
        if control < 32:
            out += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length, at = length + packed[at], at + 1
        start = len(out) - ((control & 0x1F) << 8) - packed[at] - 1
        at += 1
        if start < 0:
            raise ValueError
        for step in range(length + 2):
            out.append(out[start + step])
    if len(out) != size:
        raise ValueError
    return bytes(out)


# -- text ---------------------------------------------------------------------------


def _base64(data: bytes) -> Iterator[Layer]:
    for match in _BASE64.finditer(data):
        letters = match[0].rstrip(b"=").translate(_PLAIN)
        for skip in range(4):  # the run may have begun before the base64 did
            whole = letters[skip:][: (len(letters) - skip) // 4 * 4]
            yield f"base64 at {match.start() + skip}", base64.b64decode(whole)


def _hex(data: bytes) -> Iterator[Layer]:
    for match in _HEX.finditer(data):
        yield f"hex at {match.start()}", binascii.unhexlify(match[0])
