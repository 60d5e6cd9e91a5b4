"""Names on targets; and a source's names, selected, placed by keyed hash and packed into batches."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from struct import Struct as Packed
from typing import Protocol

import msgspec
from msgspec import structs

from strongroom.container.about import ContainerHeader
from strongroom.container.cobblestone import SIZE, name_hashes
from strongroom.container.manifest import ContainerEntry
from strongroom.container.signing import Receipt
from strongroom.container.writer import SealedContainer
from strongroom.model import ListedSecret, Selection
from strongroom.sources import Listable, Source
from strongroom.sources.batches import matches
from strongroom.system.lazy import batched
from strongroom.targets.reading import MANIFESTS

# -- Names on targets, and the records that a sealed container gets ------------------------------


EMERGENCY = "emergency/"
"""What the names of an emergency backup's folder begin with."""
_SUCCESSOR = re.compile(r"(.+)-r([0-9]+)")


def manifest_name(backup: str) -> str:
    """Return a manifest's name on every target."""
    return f"{MANIFESTS}{backup}.json"


def containers_prefix(backup: str) -> str:
    """Return what the names of a backup's containers begin with."""
    return f"containers/{backup}/"


def container_name(backup: str, sha256: str) -> str:
    """Return a container's name on every target: by digest, so a repeated put is harmless."""
    return f"{containers_prefix(backup)}{sha256}"


INDEXES = "index/"
"""What the names of indexes of names begin with on targets."""


def index_name(chain: str, backup: str, sha256: str) -> str:
    """Return the name of an index on every target. A *chain* is called as the first backup in it."""
    return f"{INDEXES}{chain}/{backup}/{sha256}"


def receipt_name(index: str) -> str:
    """Return the name of the receipt of an index that has this name."""
    return f"{index}.json"


def sealed_receipt(about: ContainerHeader, sealed: SealedContainer) -> Receipt:
    """Return the receipt of a container that was just sealed."""
    return Receipt(
        run=about.backup_id,
        piece=about.piece,
        sha256=sealed.hexdigest,
        size=sealed.size,
        secrets=sealed.secrets,
        versions=sealed.versions,
        first=sealed.first_hash.hex(),
        last=sealed.last_hash.hex(),
        wrapping_key=sealed.wrapping_key_id,
        container_signature=sealed.signature.hex(),
    )


def container_entry(receipt: Receipt, signature: str, signer: bytes) -> ContainerEntry:
    """Return a container's line in the manifest: its receipt, and who signed that."""
    fields = structs.asdict(receipt)
    del fields["run"]
    return ContainerEntry(**fields, signer=signer.hex(), signature=signature)


def base_of(backup: str) -> str:
    """Return the id of what a backup was first, however often it was sealed anew since."""
    match = _SUCCESSOR.fullmatch(backup)
    return match[1] if match else backup


def successor_of(backup: str) -> str:
    """Return the id of what replaces a backup when it is sealed anew."""
    match = _SUCCESSOR.fullmatch(backup)
    return f"{match[1]}-r{int(match[2]) + 1}" if match else f"{backup}-r1"


# -- A source's names, selected, placed by keyed hash and packed into batches -------------------


BATCH_ENTRIES = 8_192
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


def _pack(hashes: list[bytes], entries: list[ListedSecret], byte: int = 0) -> bytes:
    # Who reads has to sort what several batches hold anyway.
    hashes_of: list[list[bytes]] = [[] for _ in range(SECTIONS)]
    entries_of: list[list[ListedSecret]] = [[] for _ in range(SECTIONS)]
    for name_hash, entry in zip(hashes, entries, strict=True):
        section = name_hash[byte]
        hashes_of[section].append(name_hash)
        entries_of[section].append(entry)
    found = map(ListingSection, map(b"".join, hashes_of), entries_of)
    encoded = [_encode(section) if section.entries else b"" for section in found]
    return _INDEX.pack(*accumulate(map(len, encoded), initial=_INDEX.size)) + b"".join(encoded)


def repacked(content: bytes, *, second: bool) -> bytes:
    """Return packed batches as one, with its sections by the second byte of the hashes, or else the first."""
    placed = [placed for section in sections(content) for placed in section.placed()]
    return _pack([name_hash for name_hash, _ in placed], [entry for _, entry in placed], byte=int(second))


def cut(packed: bytes, low: int, high: int) -> bytes:
    """Return a batch's sections from ``low`` up to and with ``high``, packed like a whole one; nothing if all
    of them are empty."""
    offsets = _INDEX.unpack_from(packed)
    begin, end = offsets[low], offsets[high + 1]
    if begin == end:
        return b""
    own = (min(max(offset, begin), end) - begin + _INDEX.size for offset in offsets)
    return _INDEX.pack(*own) + packed[begin:end]


def sections(content: bytes, low: int = 0, high: int = SECTIONS - 1) -> Iterator[ListingSection]:
    """Yield the sections from ``low`` up to and with ``high`` of packed batches, one after another."""
    rest = memoryview(content)
    while rest:
        offsets = _INDEX.unpack_from(rest)
        for section in range(low, high + 1):
            if offsets[section] < offsets[section + 1]:
                yield _decode(rest[offsets[section] : offsets[section + 1]])
        rest = rest[offsets[-1] :]
