"""Chunks read as one stream, and summed up on the way."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast


class Chunked(io.RawIOBase):
    """What comes in chunks, for a reader that asks for so many bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._ahead = memoryview(b"")
        self._digest = hashlib.sha256()
        self.size = 0

    def stream(self) -> BinaryIO:
        """Return this as a file to read from."""
        return cast("BinaryIO", io.BufferedReader(self))

    @property
    def sha256(self) -> str:
        """Of everything that went by, in hex."""
        return self._digest.hexdigest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Give the next bytes; none at the end."""
        if not self._ahead:
            self._ahead = memoryview(next(self._chunks, b""))
            self._went_by(self._ahead)
        count = min(len(buffer), len(self._ahead))
        buffer[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count

    def _went_by(self, chunk: memoryview) -> None:
        self._digest.update(chunk)
        self.size += len(chunk)
