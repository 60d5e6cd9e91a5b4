"""Putting a backup file together from given parts, rightly or wrongly."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from strongroom.container.bundle import END, HEAD, MAGIC, TRAILER


def index_of(objects: list[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """Return the index that fits these objects."""
    offset, listed = HEAD.size, []
    for name, content in objects:
        sha256 = hashlib.sha256(content).hexdigest()
        listed.append({"name": name, "offset": offset, "size": len(content), "sha256": sha256})
        offset += len(content)
    return listed


def bundle(objects: list[tuple[str, bytes]], index: list[dict[str, Any]] | None = None) -> bytes:
    """Put a file together; ``index`` replaces the right one."""
    listed = index_of(objects) if index is None else index
    return framed(b"".join(content for _, content in objects), msgspec.json.encode({"objects": listed}))


def framed(body: bytes, index: bytes) -> bytes:
    total = HEAD.size + len(body) + len(index) + TRAILER.size
    trailer = TRAILER.pack(len(index), hashlib.sha256(index).digest(), total, END)
    return HEAD.pack(MAGIC, 1) + body + index + trailer
