"""The shapes in which a marked value can lie in a stream of bytes without being compressed."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping

URLSAFE = bytes.maketrans(b"+/", b"-_")


def forms(mark: bytes) -> Mapping[str, bytes]:
    """Return what to look for, by name: none is short enough to turn up by chance."""
    return dict(_plain(mark)) | dict(_base64(mark)) | dict(_base32(mark))


def _plain(mark: bytes) -> Iterator[tuple[str, bytes]]:
    text = mark.decode()
    yield "raw", mark
    yield "UTF-16LE", text.encode("utf-16-le")
    yield "UTF-16BE", text.encode("utf-16-be")
    yield "reversed", mark[::-1]
    for case, digits in (("lower", "02x"), ("upper", "02X")):
        yield f"hex, {case}", "".join(f"{byte:{digits}}" for byte in mark).encode()
        yield f"hex with colons, {case}", ":".join(f"{byte:{digits}}" for byte in mark).encode()
        yield f"URL-quoted, {case}", "".join(f"%{byte:{digits}}" for byte in mark).encode()
        yield f"JSON escapes, {case}", "".join(f"\\u00{byte:{digits}}" for byte in mark).encode()
        yield f"Python escapes, {case}", "".join(f"\\x{byte:{digits}}" for byte in mark).encode()
    yield "list of numbers", ",".join(map(str, mark)).encode()
    yield "list of numbers, spaced", ", ".join(map(str, mark)).encode()


def _base64(mark: bytes) -> Iterator[tuple[str, bytes]]:
    for offset in range(3):
        inner = _inner(mark, offset, base64.b64encode, bits=6)
        yield f"base64 at offset {offset}", inner
        if inner.translate(URLSAFE) != inner:
            yield f"URL-safe base64 at offset {offset}", inner.translate(URLSAFE)


def _base32(mark: bytes) -> Iterator[tuple[str, bytes]]:
    for offset in range(5):
        inner = _inner(mark, offset, base64.b32encode, bits=5)
        yield f"base32 at offset {offset}", inner
        yield f"base32 at offset {offset}, lower", inner.lower()


def _inner(mark: bytes, offset: int, encode: object, *, bits: int) -> bytes:
    """Return the letters that depend on the mark alone, whatever stands before and after."""
    assert callable(encode)
    letters: bytes = encode(bytes(offset) + mark)
    first = -(-offset * 8 // bits)
    return letters[first : (offset + len(mark)) * 8 // bits]
