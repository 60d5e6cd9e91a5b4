"""A target that is read no faster than a rate: whoever reads all of it must not keep others from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from strongroom.model import ObjectInfo
from strongroom.targets.repaired import Objects


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
