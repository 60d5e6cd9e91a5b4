"""A target in memory of which a hundred thousand objects may lie on, each folder listed by itself."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from strongroom.model import ObjectInfo
from strongroom.targets.memory import MemoryTarget


class FoldersTarget(MemoryTarget):
    """Lists a folder without looking at a hundred thousand other names."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, region=name)
        self._folders: dict[str, list[str]] = defaultdict(list)

    def lay(self, objects: Mapping[str, bytes]) -> None:
        """Have objects lie there, without the time that a hundred thousand puts take."""
        self._objects |= objects
        for name in objects:
            self._enter(name)

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        created = super().put(name, chunks, size=size, sha256=sha256)
        if created:
            self._enter(name)
        return created

    def _enter(self, name: str) -> None:
        insort(self._folders[name.rpartition("/")[0]], name)

    def _check_room(self, size: int) -> None:
        """Let everything in: adding up what lies here takes longer than what is measured."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder = self._folders.get(prefix.rpartition("/")[0], [])
        for name in islice(folder, bisect_left(folder, prefix), None):
            if not name.startswith(prefix):
                return
            yield ObjectInfo(name=name, size=len(self._objects[name]))
