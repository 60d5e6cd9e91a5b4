"""How a target is read: no faster than a rate, each object once, streams cut into blocks."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator

from strongroom.container.errors import VerificationFailed
from strongroom.model import ObjectInfo
from strongroom.targets.repaired import Objects
from strongroom.words import plural

# -- A target that is read no faster than a rate: whoever reads all of it must not keep others from it


class Paced:
    """The read side of a target, for one reader.

    By the time that so many bytes were given, at least so many ``1 / rate`` seconds have gone by. So the rate
    holds over any number of readers, one after the other.

    Args:
        rate: bytes a second; ``None`` for as fast as it goes.
    """

    def __init__(
        self,
        name: str,
        objects: Objects,
        rate: float | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._objects = objects
        self._seconds = 1 / rate if rate else 0.0
        self._monotonic = monotonic
        self._sleep = sleep
        self._next = 0.0

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range, each chunk when its time has come."""
        for chunk in self._objects.read(name, offset=offset, length=length):
            now = self._monotonic()
            self._next = max(self._next, now) + len(chunk) * self._seconds
            self._sleep(self._next - now)
            yield chunk

    def stat(self, name: str) -> ObjectInfo | None:
        """Return what is there, or ``None``."""
        return self._objects.stat(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield objects ascending by name."""
        return self._objects.list(prefix)


# -- An object that is read whole and then in ranges is fetched once: each byte of a far target costs money


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


# -- Cuts a stream into blocks, and lets the last one go only once the whole is what was announced ---


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
