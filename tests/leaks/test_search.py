"""The search itself: a planted value is found in every shape, and nothing is found by chance."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import zstandard
from redis import Redis

from tests.leaks.search import MARK, search
from tests.redis_server import RedisServer

VALUE = MARK + b"0042-" + bytes(range(200, 230)) + MARK
FILLED = b'{"a": "' + os.urandom(99).hex().encode() + b'", "b": "'


def _deflated(value: bytes, *, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(value) + packer.flush()


def _zstd_streamed(value: bytes) -> bytes:
    """A frame that does not say how long its content is."""
    packer = zstandard.ZstdCompressor(level=19, write_content_size=False).compressobj()
    return packer.compress(value) + packer.flush()


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "raw": bytes,
    "hex": lambda value: value.hex().encode(),
    "hex, upper": lambda value: value.hex().upper().encode(),
    "hex with colons": lambda value: value.hex(":").encode(),
    "URL-quoted, reserved only": lambda value: quote(value).encode(),
    "URL-quoted, all": lambda value: "".join(f"%{byte:02X}" for byte in value).encode(),
    "JSON escapes": lambda value: "".join(f"\\u{byte:04x}" for byte in value).encode(),
    "JSON text": lambda value: json.dumps(value.decode("latin-1")).encode(),
    "repr": lambda value: repr(value).encode(),
    "a list of numbers": lambda value: json.dumps(list(value)).encode(),
    "UTF-16": lambda value: value.decode("latin-1").encode("utf-16"),
    "base64": base64.b64encode,
    "base64, one byte before": lambda value: base64.b64encode(b"x" + value),
    "base64, two bytes before": lambda value: base64.b64encode(b"xy" + value),
    "URL-safe base64": base64.urlsafe_b64encode,
    "base64 in lines": base64.encodebytes,
    "base32": base64.b32encode,
    "zlib": zlib.compress,
    "zlib, fastest": lambda value: zlib.compress(value, 1),
    "zlib, stored": lambda value: zlib.compress(value, 0),
    "zlib, small window": lambda value: _deflated(value, wbits=9),
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "zstd, streamed": _zstd_streamed,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}

NESTED: dict[str, Callable[[bytes], bytes]] = {
    "base64 of zlib": lambda value: base64.b64encode(zlib.compress(value)),
    "base64 of zstd": lambda value: base64.b64encode(zstandard.compress(value)),
    "base64 of base64": lambda value: base64.b64encode(base64.b64encode(value)),
    "hex of gzip": lambda value: gzip.compress(value).hex().encode(),
    "zstd of base64": lambda value: zstandard.compress(base64.b64encode(b"x" + value)),
    "zlib in gzip": lambda value: gzip.compress(zlib.compress(value)),
    "base64 of JSON of base64 of zlib": lambda value: base64.b64encode(
        json.dumps({"body": base64.b64encode(zlib.compress(value)).decode()}).encode()
    ),
}


@pytest.mark.parametrize("name", [*ENCODINGS, *NESTED])
@pytest.mark.parametrize("before", [b"", FILLED, os.urandom(4096)], ids=["alone", "in text", "in noise"])
def test_a_planted_value_is_found_in_every_shape(name: str, before: bytes) -> None:
    encode = (ENCODINGS | NESTED)[name]

    found = search([("place", before + b"\n" + encode(VALUE) + b"\n" + before)])

    assert found
    assert all(words.startswith("place") for words in found)


@pytest.mark.parametrize("name", ENCODINGS)
def test_without_the_value_nothing_is_found_in_the_same_shape(name: str) -> None:
    harmless = b"SPARROW" + VALUE[7:-7]

    assert search([("place", FILLED + ENCODINGS[name](harmless))]) == []


@pytest.mark.parametrize("length", [40, 64, 100])
def test_a_compressed_value_that_was_cut_off_is_found(length: int) -> None:
    packed = zlib.compress(VALUE * 4 + os.urandom(500), 0)

    assert search([("place", packed[:length])])


def test_noise_holds_nothing() -> None:
    assert search([("noise", os.urandom(2 * 1024 * 1024))]) == []


def test_a_value_that_redis_compressed_in_its_saved_file_is_found() -> None:
    """Redis packs strings by LZF; a mark that begins in a back-reference is in no plain sight."""
    hidden = b"CANARY" + b"." * 40 + b"CANARY" + b"-" * 40
    with RedisServer() as server, Redis(unix_socket_path=str(server.socket)) as client:
        client.set("job", hidden)
        client.save()
        saved = Path(server.folder / "dump.rdb").read_bytes()

    assert MARK not in saved
    assert any("LZF" in words for words in search([("dump.rdb", saved)]))
