"""Cuts a stream into blocks, and lets the last one go only once the whole is what was announced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from strongroom.container.errors import VerificationFailed
from strongroom.words import plural


def checked(
    name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes, block: int
) -> Iterator[bytes]:
    """Yield blocks of ``block`` bytes, the last one shorter; an empty stream is one empty block.

    Raises:
        VerificationFailed: the content has another size or SHA-256 than announced. The last
            block was not handed out then, so what was sent can never be made a whole.
    """
    digest = hashlib.sha256()
    held = bytearray()
    seen = 0
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        seen += view.nbytes
        if seen > size:
            announced = plural(size, "byte")
            raise VerificationFailed(f"{name} is longer than the {announced} announced; nothing was kept")
        digest.update(view)
        while view:
            if len(held) == block:  # never before there is more: the last block waits for the check
                yield bytes(held)
                held = bytearray()
            room = block - len(held)
            held += view[:room]
            view = view[room:]
    if seen != size or digest.digest() != sha256:
        raise VerificationFailed(f"{name} is not the content that was announced; nothing was kept")
    yield bytes(held)
