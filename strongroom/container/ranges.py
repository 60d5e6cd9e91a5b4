"""Reading bytes by range, from memory or whatever else offers it."""

from __future__ import annotations

from typing import IO, Protocol

from strongroom.container.errors import Truncated
from strongroom.words import plural


class RangeReader(Protocol):
    """Something of a known size that can be read at any offset."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``; fewer only at the end."""
        ...


class BytesReader:
    """A :class:`RangeReader` over bytes in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)
        self.size = len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._data[offset : offset + length])


class OpenFileRanges:
    """A :class:`RangeReader` over a file that is open, of which ``size`` bytes count. It moves the file's
    position."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)


class RangePart:
    """A :class:`RangeReader` over a part of another one."""

    def __init__(self, whole: RangeReader, offset: int, size: int) -> None:
        self._whole = whole
        self._offset = offset
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        return self._whole.read(self._offset + offset, length)


def read_exactly(reader: RangeReader, offset: int, length: int) -> bytes:
    """Read ``length`` bytes or raise :class:`~strongroom.container.errors.Truncated`."""
    data = reader.read(offset, length)
    if len(data) != length:
        raise Truncated(f"Expected {plural(length, 'byte')} at offset {offset}, got {len(data)}.")
    return data
