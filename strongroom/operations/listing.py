"""A source's names, selected, placed by keyed hash and packed into batches.

Made where the plan is made, or ahead of it: a child process lists while its parent still
opens the state database, which is a third of what a backup of many small secrets takes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate, islice, pairwise
from operator import itemgetter
from queue import Queue
from struct import Struct as Packed
from threading import Thread
from typing import BinaryIO, Protocol

import msgspec

from strongroom.container.digests import name_hashes
from strongroom.model import Entry, Selection
from strongroom.operations.memory import uncollected
from strongroom.sources import Source
from strongroom.sources.select import matches

BATCH_ENTRIES = 50_000
AHEAD = 4
"""Batches that a child keeps, of some 5 MB each, until its parent reads them."""

SECTIONS = 256
PR_SET_PDEATHSIG = 1
_INDEX = Packed(f">{SECTIONS + 1}I")
_FRAME = Packed(">QQQ")
_encoder = msgspec.msgpack.Encoder()


class Hashed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry with its keyed name hash (16 bytes)."""

    hash: bytes
    entry: Entry


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a listing, ascending by hash: how many secrets, and their estimated bytes.

    ``packed`` is in 256 sections by the hash's first byte, behind their offsets.
    """

    packed: bytes
    secrets: int
    size: int


class ListingLost(Exception):
    """A listing that was made ahead ended early. Make it again: then its error shows."""


class Listing(Protocol):
    """A listing under way. ``name_key`` is what its names are hashed with (HMAC-SHA256)."""

    name_key: bytes

    def batches(self) -> Iterator[Batch]:
        """Yield the batches, once. Memory is bounded by one of them."""
        ...


List = Callable[[Source, Selection], Listing]


class Here:
    """Lists as it is asked to, in this process."""

    def __init__(self, source: Source, selection: Selection) -> None:
        self.name_key = os.urandom(32)
        self._source = source
        self._selection = selection

    def batches(self) -> Iterator[Batch]:
        """Yield the batches. Raises what the source raises."""
        entries = iter(_selected(self._source, self._selection))
        while listed := list(islice(entries, BATCH_ENTRIES)):
            hashes = name_hashes(self.name_key, [entry.name for entry in listed])
            placed = sorted(zip(hashes, listed, strict=True), key=itemgetter(0))
            size = sum([entry.size for entry in listed])
            yield Batch(packed=_pack(placed), secrets=len(listed), size=size)


class Ahead:
    """Lists in a child process from now on; its batches come through a pipe.

    Whatever goes wrong there ends the pipe early: :class:`ListingLost`.
    """

    def __init__(self, source: Source, selection: Selection) -> None:
        listing = Here(source, selection)
        self.name_key = listing.name_key
        reading, writing = os.pipe()
        parent = os.getpid()
        self._child = os.fork()
        if not self._child:
            _list_in_child(listing, writing, parent)
        os.close(writing)
        self._pipe = os.fdopen(reading, "rb")

    def batches(self) -> Iterator[Batch]:
        """Yield the batches as the child makes them."""
        with self._pipe as pipe:
            while (head := _FRAME.unpack(_exactly(pipe, _FRAME.size)))[0]:
                secrets, size, length = head
                yield Batch(packed=_exactly(pipe, length), secrets=secrets, size=size)

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._pipe.close()
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)


@contextmanager
def listed_ahead(source: Source, selection: Selection) -> Iterator[Listing | None]:
    """List in a child process while the block runs, where that is safe."""
    if not may_fork():
        yield None
        return
    ahead = Ahead(source, selection)
    try:
        yield ahead
    finally:
        ahead.close()


def may_fork() -> bool:
    """Tell whether forking is safe on this system: on macOS its frameworks forbid it."""
    return sys.platform == "linux"


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, which would otherwise leave it waiting
    for ever: it inherited both ends of what it reads or writes."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


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


def _exactly(pipe: BinaryIO, length: int) -> bytes:
    data = pipe.read(length)
    if len(data) != length:
        raise ListingLost
    return data


def _selected(source: Source, selection: Selection) -> Iterable[Entry]:
    entries = source.list(with_tags=bool(selection.tags))
    if selection == Selection():
        return entries
    return (entry for entry in entries if matches(selection, entry))


def _pack(placed: list[tuple[bytes, Entry]]) -> bytes:
    cuts = [bisect_left(placed, section, key=lambda pair: pair[0][0]) for section in range(SECTIONS + 1)]
    encoded = [_encoder.encode(placed[low:high]) for low, high in pairwise(cuts)]
    offsets = accumulate(map(len, encoded), initial=_INDEX.size)
    return _INDEX.pack(*offsets) + b"".join(encoded)


def sections(packed: bytes, low: int, high: int) -> Iterator[memoryview]:
    """Yield the encoded sections from ``low`` up to and with ``high``."""
    offsets = _INDEX.unpack_from(packed)
    for section in range(low, high + 1):
        yield memoryview(packed)[offsets[section] : offsets[section + 1]]
