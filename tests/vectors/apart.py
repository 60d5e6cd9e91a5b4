"""One backup taken apart, for docs/explanation/format.md: ``python -m tests.vectors.example`` writes it anew.

It is the published ``target-plain.vector``, opened with its key file by the primitives alone.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.reader.reading import objects_of
from tests.vectors.primitives import hkdf
from tests.vectors.vector import parse, stored

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "format.md"
SHOWN = 6
"""Bytes of each part that are shown."""
Part = tuple[str, bytes]
COLUMNS = (
    "name", "type", "versions", "tags", "created_at", "updated_at", "expires_at", "rotation", "metadata",
)  # fmt: skip


def backup() -> tuple[dict[str, bytes], bytes]:
    """Return the backup's objects by name, and the key of the key file."""
    vector = parse(stored()["target-plain"])
    return objects_of(vector), bytes.fromhex(vector.one("keyfile") or "")


def container_of(objects: dict[str, bytes]) -> bytes:
    """Return the backup's first container, as the manifest names it."""
    [manifest] = (content for name, content in objects.items() if name.startswith("manifests/"))
    entry = json.loads(manifest)["body"]["containers"][0]
    [found] = (content for name, content in objects.items() if name.endswith(entry["sha256"]))
    return found


def parts(data: bytes) -> Iterator[Part]:
    """Yield a container of one segment in parts, in their order, so that all together are the file."""
    directory, index, envelope = struct.unpack(">III", data[-28:-16])
    end = len(data) - 124
    values, rows = struct.unpack(">II", data[end - envelope - index - directory :][:8])
    sizes = (
        ("magic: SRCT, two line ends, an end of text", 8),
        ("version 1", 2),
        ("suite 2", 2),
        ("flags: none", 4),
        ("file id, random", 32),
        ("header tag: commits to the file key", 32),
        ("values message: salt", 24),
        ("values message: commitment", 32),
        ("values message: sealed values and padding", values - 56),
        ("rows message: salt", 24),
        ("rows message: commitment", 32),
        ("rows message: sealed names, tags and dates", rows - 56),
        ("directory: length of the values message", 4),
        ("directory: length of the rows message", 4),
        ("directory: SHA-256 of the values message", 32),
        ("directory: SHA-256 of the rows message", 32),
        ("index message: salt", 24),
        ("index message: commitment", 32),
        ("index message: sealed index and padding", index - 56),
        ("envelope: JSON, below", envelope),
        ("public key of whoever signed", 32),
        ("signature", 64),
        ("length of the directory", 4),
        ("length of the index", 4),
        ("length of the envelope", 4),
        ("length of the file", 8),
        ("end marker: a line feed and SRCTEND", 8),
    )
    at = 0
    for name, size in sizes:
        yield name, data[at : at + size]
        at += size


def message(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """Open a message of one chunk."""
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + sealed[:24] + context
    derived = HKDFExpand(SHA512(), 76, info).derive(key)
    return AESGCM(derived[:32]).decrypt(derived[32:44], sealed[56:], b"")


def contents(data: bytes, key: bytes) -> dict[bytes, bytes]:
    """Return the plaintexts of index, rows and values."""
    found = [content for _, content in parts(data)]
    envelope, file_id, tag = json.loads(found[19]), found[4], found[5]
    record = envelope["wrapping_key"]
    args = record["stanzas"][0]["args"]
    info = b"strongroom/v1/wrap/keyfile/strongroom/v1/wrapping-key/" + bytes.fromhex(record["id"])
    wrapping_key = unwrapped(key, args, info)
    file_key = unwrapped(wrapping_key, envelope["file_key"], b"strongroom/v1/file-key/" + file_id)
    sealed = {
        b"values": b"".join(found[6:9]),
        b"rows": b"".join(found[9:12]),
        b"index": b"".join(found[16:19]),
    }
    return {
        kind: message(
            hkdf(file_key, file_id, b"strongroom/v1/" + kind), content, tag + bytes([number]) + bytes(4)
        )
        for number, (kind, content) in enumerate(sealed.items(), 1)
    }


def unwrapped(key: bytes, args: dict[str, str], info: bytes) -> bytes:
    salt, wrapped = bytes.fromhex(args["salt"]), bytes.fromhex(args["wrapped"])
    return AESGCM(hkdf(key, salt, info)).decrypt(bytes(12), wrapped, b"")


def listing(objects: dict[str, bytes]) -> str:
    return "\n".join(f"{len(content):5}  {name}" for name, content in sorted(objects.items()))


def taken_apart(data: bytes) -> str:
    """Return a line for each part: where it begins, how long it is, its first bytes, and what it is."""
    lines, at = [], 0
    for name, content in parts(data):
        shown = content[:SHOWN].hex(" ") + (" …" if len(content) > SHOWN else "")
        lines.append(f"{at:5} {len(content):5}  {shown:{3 * SHOWN + 1}}  {name}")
        at += len(content)
    return "\n".join(lines)


def envelope(data: bytes) -> str:
    content = next(content for name, content in parts(data) if name.startswith("envelope"))
    return json.dumps(json.loads(content), indent=1)


def opened(data: bytes, key: bytes) -> Iterator[str]:
    """Yield what lies sealed, as it is read."""
    found = contents(data, key)
    index = found[b"index"].rstrip(b"\0")
    yield f"the index, {len(index)} bytes of {len(found[b'index'])}:"
    yield json.dumps(json.loads(index), indent=1)
    rows = found[b"rows"]
    count, values, size, frame = struct.unpack(">IIII", rows[:16])
    lines = zstandard.ZstdDecompressor().decompress(rows[16 : 16 + frame]).decode().split("\n")
    yield f"the rows: {count} rows, {values} values, {size} bytes of columns in a frame of {frame} bytes:"
    for number, name in enumerate(COLUMNS):
        column = lines[number * count : (number + 1) * count]
        same = len({*column}) == 1
        yield from (
            f"  {name:10}  {line or '-'}{' in every row' * same}" for line in column[: 1 if same else None]
        )
    at, plain = 0, found[b"values"]
    yield f"the values, {len(plain)} bytes with their padding:"
    for line in lines[2 * count : 3 * count]:
        for _, length, *_ in json.loads(line):
            if length is not None:
                yield f"  {plain[at : at + length]!r:.70}"
                at += length


def blocks() -> dict[str, str]:
    """Return what is written into the page, by the name of its place."""
    objects, key = backup()
    data = container_of(objects)
    return {
        "listing": listing(objects),
        "parts": taken_apart(data),
        "envelope": envelope(data),
        "opened": "\n".join(opened(data, key)),
    }


def written(page: str) -> str:
    """Return the page with every block in its place."""
    for name, content in blocks().items():
        begin, end = f"<!-- {name}: written by tests/vectors/apart.py -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n```text\n{content}\n```\n\n{end}{rest.partition(end)[2]}"
    return page


def write() -> None:
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
