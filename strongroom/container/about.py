"""What a container says of itself, sealed; and the index that finds a secret in it."""

from __future__ import annotations

from bisect import bisect_right

from msgspec import Struct

from strongroom.container import canonical, digests
from strongroom.container.canonical import unhex
from strongroom.container.derive import KEY_SIZE
from strongroom.container.errors import Malformed
from strongroom.model import prepare


class About(Struct, frozen=True, kw_only=True):
    """Which backup a container belongs to, and which part of it it is.

    ``piece`` counts from 0 to ``pieces - 1``. ``values`` is false in a sealed
    metadata-only backup. ``name_key`` (32 bytes) is the same in all containers of a
    backup: names are sorted and looked up by their HMAC under it.
    """

    backup_id: str
    piece: int
    pieces: int
    source: str
    policy: str
    values: bool
    created_at: str
    name_key: bytes

    def __repr__(self) -> str:
        return f"About({self.backup_id}, piece {self.piece} of {self.pieces})"


class SegmentInfo(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A segment in the index: its first name's hash, and how much is in it."""

    first: str
    secrets: int
    versions: int


class Index(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sealed index. ``signer`` and ``directory`` (a SHA-256) tie what can be read
    without a key to what cannot be made without one."""

    backup_id: str
    piece: int
    pieces: int
    source: str
    policy: str
    values: bool
    created_at: str
    name_key: str
    signer: str
    directory: str
    segments: tuple[SegmentInfo, ...]

    @property
    def about(self) -> About:
        return About(
            backup_id=self.backup_id,
            piece=self.piece,
            pieces=self.pieces,
            source=self.source,
            policy=self.policy,
            values=self.values,
            created_at=self.created_at,
            name_key=unhex(self.name_key, KEY_SIZE, "A name key"),
        )

    def find(self, name_hash: bytes) -> int:
        """Return the number of the only segment that can hold this hash, or -1."""
        return bisect_right(self.segments, name_hash.hex(), key=lambda s: s.first) - 1


prepare(Index)


def make_index(about: About, segments: list[SegmentInfo], signer: bytes, directory: bytes) -> Index:
    """Put an index together."""
    return Index(
        backup_id=about.backup_id,
        piece=about.piece,
        pieces=about.pieces,
        source=about.source,
        policy=about.policy,
        values=about.values,
        created_at=about.created_at,
        name_key=about.name_key.hex(),
        signer=signer.hex(),
        directory=directory.hex(),
        segments=tuple(segments),
    )


def decode_index(data: bytes) -> Index:
    """Parse an index strictly."""
    index = canonical.decode(data, Index, "The index")
    if not 0 <= index.piece < index.pieces:
        raise Malformed("A container's number is out of bounds.")
    unhex(index.name_key, KEY_SIZE, "A name key")
    last = b""
    for segment in index.segments:
        first = unhex(segment.first, digests.SIZE, "A name's hash")
        if first <= last or segment.secrets < 1 or segment.versions < segment.secrets:
            raise Malformed("The index's segments do not ascend, or are empty.")
        last = first
    return index
