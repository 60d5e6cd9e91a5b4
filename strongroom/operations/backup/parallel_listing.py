"""Listing in child processes, each a part, before there is a plan to list for.

Meanwhile their parent opens the state database, which is a third of what a backup of many small
secrets takes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from queue import Queue
from selectors import EVENT_READ, DefaultSelector
from struct import Struct as Packed
from threading import Thread
from typing import NamedTuple, NoReturn

from strongroom.errors import SourceError
from strongroom.model import Selection
from strongroom.operations.listing import InProcessListing, ListingBatch, ListingLost, SecretListing
from strongroom.sources import Listable, Source
from strongroom.system.forking import cores, die_with_parent, may_fork, uninterrupted
from strongroom.system.gc_pause import uncollected

MOST = 4
"""Processes; a larger share of a larger machine is left to what it also does."""

AHEAD = 4
"""Batches, of some 4 MB each, that are kept by all of them until their parent reads."""

_FRAME = Packed(">QQQ")


class Ahead:
    """A listing that child processes make from now on, a part in each; its batches come through pipes.

    Whatever goes wrong there ends a pipe early: :class:`ListingLost`.
    """

    def __init__(self) -> None:
        self.name_key = os.urandom(32)
        self._children: list[_Child] = []

    def start(self, parts: Sequence[Listable], selection: Selection) -> None:
        """Start a child for each part. Raises OSError when the system has no more of something."""
        kept = max(1, AHEAD // len(parts))
        with uninterrupted():
            for part in parts:
                listing = InProcessListing(part, selection, name_key=self.name_key)
                self._children.append(_start(listing, kept))

    def batches(self) -> Iterator[ListingBatch]:
        """Yield the batches as the children make them."""
        with DefaultSelector() as waiting:
            for child in self._children:
                waiting.register(child.pipe, EVENT_READ, child)
            while waiting.get_map():
                for ready, _ in waiting.select():
                    if batch := ready.data.batch():
                        yield batch
                    else:
                        waiting.unregister(ready.fileobj)

    def close(self) -> None:
        """End the children, whatever they are doing."""
        for child in self._children:
            child.kill()
        for child in self._children:
            child.bury()
        self._children.clear()


class _Child(NamedTuple):
    """A process that lists, and the pipe that its batches come through."""

    process: int
    pipe: FileIO

    def batch(self) -> ListingBatch | None:
        """Wait for the next batch; ``None`` follows the last one."""
        secrets, size, length = _FRAME.unpack(_exactly(self.pipe, _FRAME.size))
        return (
            ListingBatch(packed=_exactly(self.pipe, length), secrets=secrets, size=size) if secrets else None
        )

    def kill(self) -> None:
        """End it, if it has not ended."""
        self.pipe.close()
        with suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)

    def bury(self) -> None:
        """Wait until it has ended, unless nobody may: where SIGCHLD is ignored the kernel does."""
        with suppress(ChildProcessError):
            os.waitpid(self.process, 0)


@contextmanager
def listed_ahead(source: Source, selection: Selection) -> Iterator[SecretListing | None]:
    """List in child processes while the block runs; yield ``None`` where that cannot be done."""
    ahead = Ahead()
    try:
        yield ahead if may_fork() and _started(ahead, source, selection) else None
    finally:
        ahead.close()


def _started(ahead: Ahead, source: Source, selection: Selection) -> bool:
    """Start listing. If that fails, the plan lists instead, and meets what is wrong with the source."""
    try:
        most = min(MOST, cores())
        ahead.start(source.parts(most), selection)
    except (SourceError, OSError):
        ahead.close()
        return False
    return True


def _start(listing: InProcessListing, kept: int) -> _Child:
    reading, writing = os.pipe()
    parent = os.getpid()
    try:
        process = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if not process:
        _list_in_child(listing, kept, writing, parent)
    os.close(writing)
    return _Child(process, FileIO(reading))


def _list_in_child(listing: InProcessListing, kept: int, writing: int, parent: int) -> NoReturn:
    try:
        die_with_parent(parent)
        queue: Queue[ListingBatch | None] = Queue(kept)
        # A pipe holds little of a batch, and the parent reads late: listing goes on meanwhile.
        writer = Thread(target=_write, args=(writing, queue))
        writer.start()
        with uncollected():
            for batch in listing.batches():
                queue.put(batch)
        queue.put(None)
        writer.join()
    finally:
        os._exit(0)  # no exception, exit handler or buffer of the parent's may run here


def _write(writing: int, queue: Queue[ListingBatch | None]) -> None:
    try:
        with os.fdopen(writing, "wb") as pipe:
            while batch := queue.get():
                pipe.write(_FRAME.pack(batch.secrets, batch.size, len(batch.packed)))
                pipe.write(batch.packed)
            pipe.write(_FRAME.pack(0, 0, 0))
    except BaseException:  # noqa: BLE001 - nobody reads any more, and the lister would wait for ever
        os._exit(1)


def _exactly(pipe: FileIO, length: int) -> bytes:
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        if not (count := pipe.readinto(rest)):
            raise ListingLost
        rest = rest[count:]
    return bytes(data)
