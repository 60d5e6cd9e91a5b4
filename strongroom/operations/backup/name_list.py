"""The list of names that a plan makes, spilled to the stage and cut into ranges.

Names can be sensitive and a million of them do not belong in memory, so the list goes to
the stage in chunks sealed under the cluster work key. Each name is placed by a keyed hash
(HMAC-SHA256 under the run's name key): a *piece* is a contiguous range of hashes. So pieces
are of even size whatever the names are, two secrets of one name fall into one piece, and
the hash range in a manifest tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import msgspec

from strongroom.operations.layout import names_chunk
from strongroom.operations.listing import SECTIONS, Placed, SecretListing, sections
from strongroom.operations.runs.stage import get_sealed, put_sealed
from strongroom.state.errors import RecordRefused
from strongroom.targets import Target


def _name(placed: Placed) -> str:
    return placed[1].name


class ChunkRef(msgspec.Struct, frozen=True, kw_only=True):
    """A spilled chunk on the stage, named by its digest."""

    name: str
    sha256: str


class Spilled(msgspec.Struct, frozen=True, kw_only=True):
    """What was listed: the chunks, how many secrets, and their estimated bytes."""

    chunks: tuple[ChunkRef, ...]
    secrets: int
    size: int


def spill(stage: Target, run: str, listing: SecretListing, *, work_key: bytes) -> Spilled:
    """Write a listing to the stage; memory is bounded by one batch."""
    chunks: list[ChunkRef] = []
    count = size = 0
    for batch in listing.batches():
        chunks.append(_put_chunk(stage, run, batch.packed, work_key))
        count += batch.secrets
        size += batch.size
    return Spilled(chunks=tuple(chunks), secrets=count, size=size)


def read_range(
    stage: Target, run: str, chunks: Iterable[ChunkRef], *, piece: int, pieces: int, work_key: bytes
) -> list[Placed]:
    """Return one piece's entries, ascending by name: neighbours are then alike, and compress."""
    low, high = _bounds(piece, pieces)
    last = SECTIONS - 1 if high is None else high[0]
    found: list[Placed] = []
    try:
        for chunk in chunks:
            for section in sections(_get_chunk(stage, run, chunk, work_key), low[0], last):
                found += section.placed()
    except msgspec.MsgspecError:
        raise RecordRefused(
            "another version of Strongroom planned this run: cancel it, and start again"
        ) from None
    here = [placed for placed in found if low <= placed[0] and (high is None or placed[0] < high)]
    here.sort(key=_name)
    return here


def _bounds(piece: int, pieces: int) -> tuple[bytes, bytes | None]:
    def edge(number: int) -> bytes:
        return (-(-number * 2**128 // pieces)).to_bytes(16, "big")

    return edge(piece), edge(piece + 1) if piece + 1 < pieces else None


def _put_chunk(stage: Target, run: str, packed: bytes, work_key: bytes) -> ChunkRef:
    place = partial(names_chunk, run)
    sha256 = put_sealed(stage, packed, place=place, work_key=work_key, context=_context(run))
    return ChunkRef(name=place(sha256), sha256=sha256)


def _get_chunk(stage: Target, run: str, chunk: ChunkRef, work_key: bytes) -> bytes:
    return get_sealed(stage, chunk.name, sha256=chunk.sha256, work_key=work_key, context=_context(run))


def _context(run: str) -> bytes:
    return b"strongroom/v1/names/" + run.encode()
