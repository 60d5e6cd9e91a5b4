"""Parts of a snapshot, sealed, in a place that several processes reach: the stage.

Listing takes the snapshot, in one process; capture reads its parts, in others. A snapshot is
encrypted by the server's barrier, but its keys, the names of secrets, are not; so no part of it
lies anywhere in the clear.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from strongroom.container import cobblestone
from strongroom.container.errors import MissingPiece
from strongroom.model import ObjectInfo
from strongroom.sources.raft.about import ABOUT
from strongroom.sources.raft.chunked import Chunked
from strongroom.timestamps import compact

PART = 1 << 20
"""Bytes of a part: small beside a container, so that containers come out even."""


class SpoolStore(Protocol):
    """What of a target a spool needs."""

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool: ...

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]: ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]: ...

    def delete(self, name: str) -> None: ...

    def abort_incomplete(self, prefix: str) -> int: ...


class Spool:
    """The parts of one source's snapshots.

    Args:
        place: where they lie.
        folder: below which name; one source's own.
        key: 32 bytes; each part is sealed with it, bound to its place (Cobblestone-256).
    """

    def __init__(self, place: SpoolStore, *, folder: str, key: bytes) -> None:
        self._place = place
        self._folder = folder
        self._key = key

    def put(self, snapshot: str, part: int | None, content: bytes) -> None:
        """Keep a part."""
        name = self._name(snapshot, part)
        sealed = cobblestone.seal(self._key, content, context=_context(name))
        self._place.put(name, [sealed], size=len(sealed), sha256=hashlib.sha256(sealed).digest())

    def get(self, snapshot: str, part: int | None) -> bytes | None:
        """Return a part, or ``None`` if it is not there. Raises Tampered if it is another."""
        name = self._name(snapshot, part)
        try:
            sealed = b"".join(self._place.read(name))
        except MissingPiece:
            return None
        return cobblestone.open_(self._key, sealed, context=_context(name))

    def forget(self, snapshot: str) -> None:
        """Remove all of a snapshot."""
        self._remove(f"{self._folder}/{snapshot}/")

    def forget_older(self, seconds: float) -> None:
        """Remove the snapshots that were taken longer ago than this, whole or not."""
        before = compact(time.time() - seconds)
        names = (info.name for info in self._place.list(f"{self._folder}/"))
        for snapshot in sorted({name.removeprefix(f"{self._folder}/").partition("/")[0] for name in names}):
            if snapshot < before:
                self.forget(snapshot)

    def _remove(self, prefix: str) -> None:
        self._place.abort_incomplete(prefix)
        for name in [info.name for info in self._place.list(prefix)]:
            self._place.delete(name)

    def _name(self, snapshot: str, part: int | None) -> str:
        return f"{self._folder}/{snapshot}/{ABOUT if part is None else f'{part:05}'}"


class Spooling(Chunked):
    """Reads a stream, and keeps it, part by part."""

    def __init__(self, chunks: Iterator[bytes], spool: Spool, snapshot: str) -> None:
        super().__init__(chunks)
        self._held = bytearray()
        self._spool = spool
        self._snapshot = snapshot
        self.parts = 0

    def finish(self) -> None:
        """Keep the last part. All of the stream has to have been read."""
        if self._held or not self.parts:
            self._put(bytes(self._held))
            self._held.clear()

    def _went_by(self, chunk: memoryview) -> None:
        super()._went_by(chunk)
        self._held += chunk
        while len(self._held) >= PART:
            self._put(bytes(self._held[:PART]))
            del self._held[:PART]

    def _put(self, part: bytes) -> None:
        self._spool.put(self._snapshot, self.parts, part)
        self.parts += 1


def _context(name: str) -> bytes:
    return b"strongroom/v1/raft-spool/" + name.encode()
