"""Cutting a stream into parts, and holding the last one back until the whole is known to be right."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator

from strongroom.container.errors import VerificationFailed
from strongroom.words import plural


def parts(
    name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes, part_bytes: int
) -> Iterator[bytearray]:
    """Yield the content in parts of ``part_bytes``, the last one shorter; none of an empty object.

    The last part comes only after size and SHA-256 of the whole were found right, so an
    object that needs it to become visible never does on wrong content.

    Raises:
        VerificationFailed: the content is not what was announced.
    """
    digest = hashlib.sha256()
    part = bytearray()
    taken = 0
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        taken += view.nbytes
        if taken > size:
            announced = plural(size, "byte")
            raise VerificationFailed(f"{name} is longer than the {announced} announced; nothing was kept")
        digest.update(view)
        while view:
            if len(part) == part_bytes:
                yield part
                part = bytearray()
            room = part_bytes - len(part)
            part += view[:room]
            view = view[room:]
    if taken != size or digest.digest() != sha256:
        raise VerificationFailed(f"{name} is not the content that was announced; nothing was kept")
    if part:
        yield part


def checksum(data: bytes | bytearray) -> str:
    """Return a SHA-256 as S3 spells it."""
    return encoded(hashlib.sha256(data).digest())


def encoded(digest: bytes) -> str:
    """Return a digest in base64."""
    return base64.b64encode(digest).decode("ascii")
