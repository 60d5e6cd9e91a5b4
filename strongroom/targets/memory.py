"""A target in this process's memory, for tests and for trying things out."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.model import ObjectInfo
from strongroom.system.errors import TargetFull
from strongroom.targets import Target, TargetIdentity, check_name, check_prefix
from strongroom.words import plural

READ_BYTES = 1024 * 1024


class MemoryTarget(Target):
    """A :class:`~strongroom.targets.Target` that is gone when the process ends.

    Args:
        capacity: bytes it takes in all before it is full; ``None`` for no bound.
    """

    def __init__(
        self,
        *,
        name: str = "memory",
        region: str = "memory",
        provider: str = "memory",
        capacity: int | None = None,
    ) -> None:
        super().__init__(
            TargetIdentity(name=name, region=region, provider=provider, address=f"memory:{name}")
        )
        self._capacity = capacity
        self._objects: dict[str, bytes] = {}
        self._held = 0
        self._lock = threading.Lock()

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        check_name(name)
        if name in self._objects:
            return False
        self._check_room(size)
        content = _gather(name, chunks, size)
        if len(content) != size or hashlib.sha256(content).digest() != sha256:
            raise VerificationFailed(f"{name} is not the content that was announced; nothing was kept")
        with self._lock:
            if name in self._objects:
                return False
            self._check_room(size)
            self._objects[name] = content
            self._held += size
        return True

    def stat(self, name: str) -> ObjectInfo | None:
        content = self._objects.get(check_name(name))
        return None if content is None else ObjectInfo(name=name, size=len(content))

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield objects ascending by name, as they were when the listing began."""
        with self._lock:
            sizes = {name: len(content) for name, content in self._objects.items()}
        matching = sorted(item for item in sizes.items() if item[0].startswith(prefix))
        return (ObjectInfo(name=name, size=size) for name, size in matching)

    def delete(self, name: str) -> None:
        with self._lock:
            self._held -= len(self._objects.pop(check_name(name), b""))

    def abort_incomplete(self, prefix: str) -> int:
        """Do nothing: what is interrupted here was never stored."""
        check_prefix(prefix)
        return 0

    def _read(self, name: str, offset: int, length: int | None) -> Iterator[bytes]:
        """Stream a range in chunks of at most 1 MiB."""
        content = self._objects.get(name)
        if content is None:
            raise MissingPiece(f"target '{self.name}' does not hold {name}")
        end = len(content) if length is None else min(len(content), offset + length)
        for start in range(offset, end, READ_BYTES):
            yield content[start : min(end, start + READ_BYTES)]

    def _check_room(self, size: int) -> None:
        if self._capacity is not None and self._held + size > self._capacity:
            raise TargetFull(f"target '{self.name}' has room for {plural(self._capacity, 'byte')} in all")


def _gather(name: str, chunks: Iterable[bytes | memoryview], size: int) -> bytes:
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > size:
            announced = plural(size, "byte")
            raise VerificationFailed(f"{name} is longer than the {announced} announced; nothing was kept")
    return bytes(content)
