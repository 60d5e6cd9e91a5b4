"""A source's names, selected, placed by keyed hash and packed into batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from struct import Struct as Packed
from typing import Protocol

import msgspec

from strongroom.container.digests import SIZE, name_hashes
from strongroom.model import ListedSecret, Selection
from strongroom.sources import Listable, Source
from strongroom.sources.select import matches
from strongroom.system.batches import batched

BATCH_ENTRIES = 32_768
SECTIONS = 256
_INDEX = Packed(f">{SECTIONS + 1}I")

Placed = tuple[bytes, ListedSecret]
"""An entry behind its keyed name hash."""


class ListingSection(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Entries whose name hashes (16 bytes, one after another) begin with one byte, in any order."""

    hashes: bytes
    entries: list[ListedSecret]

    def placed(self) -> Iterator[Placed]:
        """Yield each entry behind its hash."""
        hashes = self.hashes
        return zip([hashes[at : at + SIZE] for at in range(0, len(hashes), SIZE)], self.entries, strict=True)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ListingSection).decode


class ListingBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a listing: how many secrets, and their estimated bytes.

    ``packed`` is in 256 sections by the hash's first byte, behind their offsets.
    """

    packed: bytes
    secrets: int
    size: int


class ListingLost(Exception):
    """A listing that was made ahead ended early. Make it again: then its error shows."""


class SecretListing(Protocol):
    """A listing under way. ``name_key`` is what its names are hashed with (HMAC-SHA256)."""

    name_key: bytes

    def batches(self) -> Iterator[ListingBatch]:
        """Yield the batches, once. Memory is bounded by one of them."""
        ...


Lister = Callable[[Source, Selection], SecretListing]


class InProcessListing:
    """Lists as it is asked to, in this process."""

    def __init__(self, source: Listable, selection: Selection, *, name_key: bytes | None = None) -> None:
        self.name_key = name_key or os.urandom(32)
        self._source = source
        self._selection = selection

    def batches(self) -> Iterator[ListingBatch]:
        """Yield the batches. Raises what the source raises."""
        for listed in batched(_selected(self._source, self._selection), BATCH_ENTRIES):
            hashes = name_hashes(self.name_key, [entry.name for entry in listed])
            size = sum([entry.size for entry in listed])
            yield ListingBatch(packed=_pack(hashes, listed), secrets=len(listed), size=size)


def _selected(source: Listable, selection: Selection) -> Iterable[ListedSecret]:
    entries = source.list(with_tags=bool(selection.tags))
    if selection == Selection():
        return entries
    return (entry for entry in entries if matches(selection, entry))


def _pack(hashes: list[bytes], entries: list[ListedSecret]) -> bytes:
    # Who reads has to sort what several batches hold anyway.
    hashes_of: list[list[bytes]] = [[] for _ in range(SECTIONS)]
    entries_of: list[list[ListedSecret]] = [[] for _ in range(SECTIONS)]
    for name_hash, entry in zip(hashes, entries, strict=True):
        section = name_hash[0]
        hashes_of[section].append(name_hash)
        entries_of[section].append(entry)
    found = map(ListingSection, map(b"".join, hashes_of), entries_of)
    encoded = list(map(_encode, found))
    return _INDEX.pack(*accumulate(map(len, encoded), initial=_INDEX.size)) + b"".join(encoded)


def sections(packed: bytes, low: int = 0, high: int = SECTIONS - 1) -> Iterator[ListingSection]:
    """Yield the sections from ``low`` up to and with ``high``."""
    offsets = _INDEX.unpack_from(packed)
    for section in range(low, high + 1):
        yield _decode(memoryview(packed)[offsets[section] : offsets[section + 1]])
