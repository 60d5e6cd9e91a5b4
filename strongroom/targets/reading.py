"""An object that is read whole and then in ranges is fetched once: each byte of a far target costs money."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.model import ObjectInfo
from strongroom.targets.repaired import Objects


class ReadOnce:
    """The read side of a target, for a short while: what was read whole is remembered.

    Only the last such object, and none that is larger than ``most`` bytes. So what is compared by its digest
    and then opened is one and the same: nobody can change it in between.
    """

    def __init__(self, objects: Objects, *, most: int) -> None:
        self._objects = objects
        self._most = most
        self._name = ""
        self._content = b""

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range, from memory if the object was read whole before."""
        if name == self._name:
            end = None if length is None else offset + length
            return iter((self._content[offset:end],))
        if offset == 0 and length is not None:
            return self._whole(name, length)
        return self._objects.read(name, offset=offset, length=length)

    def _whole(self, name: str, length: int) -> Iterator[bytes]:
        """Stream an object from its beginning, and remember it if it ends before ``length``."""
        kept, size = list[bytes](), 0
        for chunk in self._objects.read(name, length=length):
            size += len(chunk)
            if size <= self._most:
                kept.append(bytes(chunk))
            yield chunk
        if size < length and size <= self._most:
            self._name, self._content = name, b"".join(kept)

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``."""
        return self._objects.stat(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield objects ascending by name."""
        return self._objects.list(prefix)
