"""Listing in child processes, each a part, before there is a plan to list for.

Meanwhile their parent opens the state database, which is a third of what a backup of many small
secrets takes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from queue import Queue
from select import select
from struct import Struct as Packed
from threading import Thread

from strongroom.errors import SourceError
from strongroom.model import Selection
from strongroom.operations.forking import die_with_parent, may_fork
from strongroom.operations.listing import Batch, Here, Listing, ListingLost
from strongroom.operations.memory import uncollected
from strongroom.sources import Divisible, Listable, Source

AHEAD = 4
"""Batches that a child keeps, of some 3 MB each, until its parent reads them."""

_FRAME = Packed(">QQQ")


class Ahead:
    """Lists in child processes from now on, a part in each; their batches come through pipes.

    Whatever goes wrong there ends a pipe early: :class:`ListingLost`.
    """

    def __init__(self, parts: Sequence[Listable], selection: Selection) -> None:
        self.name_key = os.urandom(32)
        self._children = [_Child(Here(part, selection, name_key=self.name_key)) for part in parts]

    def batches(self) -> Iterator[Batch]:
        """Yield the batches as the children make them."""
        listing = {child.pipe: child for child in self._children}
        while listing:
            for pipe in select(listing, (), ())[0]:
                if batch := listing[pipe].batch():
                    yield batch
                else:
                    del listing[pipe]

    def close(self) -> None:
        """End the children, whatever they are doing."""
        for child in self._children:
            child.end()


class _Child:
    """A process that lists, and the pipe that its batches come through."""

    def __init__(self, listing: Here) -> None:
        reading, writing = os.pipe()
        parent = os.getpid()
        self.process = os.fork()
        if not self.process:
            _list_in_child(listing, writing, parent)
        os.close(writing)
        self.pipe = FileIO(reading)

    def batch(self) -> Batch | None:
        """Wait for the next batch; ``None`` follows the last one."""
        secrets, size, length = _FRAME.unpack(_exactly(self.pipe, _FRAME.size))
        return Batch(packed=_exactly(self.pipe, length), secrets=secrets, size=size) if secrets else None

    def end(self) -> None:
        """End it, whatever it is doing."""
        self.pipe.close()
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


@contextmanager
def listed_ahead(source: Source, selection: Selection) -> Iterator[Listing | None]:
    """List in child processes while the block runs, where that is safe and the source can be reached."""
    parts = _parts(source) if may_fork() else ()
    if not parts:
        yield None
        return
    ahead = Ahead(parts, selection)
    try:
        yield ahead
    finally:
        ahead.close()


def _parts(source: Source) -> Sequence[Listable]:
    """Return a part for each core; none if there is an error, which who lists here will report."""
    if not isinstance(source, Divisible):
        return (source,)
    try:
        return source.parts(os.cpu_count() or 1)
    except SourceError:
        return ()


def _list_in_child(listing: Here, writing: int, parent: int) -> None:
    try:
        die_with_parent(parent)
        made: Queue[Batch | None] = Queue(AHEAD)
        # A pipe holds little of a batch, and the parent reads late: listing goes on meanwhile.
        writer = Thread(target=_write, args=(writing, made))
        writer.start()
        with uncollected():
            for batch in listing.batches():
                made.put(batch)
        made.put(None)
        writer.join()
    finally:
        os._exit(0)  # no exception, exit handler or buffer of the parent's may run here


def _write(writing: int, made: Queue[Batch | None]) -> None:
    try:
        with os.fdopen(writing, "wb") as pipe:
            while batch := made.get():
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
