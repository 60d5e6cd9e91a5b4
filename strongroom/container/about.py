"""What a container says of itself, sealed; and the index that finds a secret in it."""

from __future__ import annotations

from bisect import bisect_right
from operator import ge

from msgspec import Struct

from strongroom.container import canonical, cobblestone
from strongroom.container.canonical import unhex
from strongroom.container.cobblestone import KEY_SIZE, unpad, zeros
from strongroom.container.errors import Malformed
from strongroom.model import prepare


class ContainerHeader(Struct, frozen=True, kw_only=True):
    """Which backup a container belongs to, and which part of it it is.

    ``piece`` counts from 0 to ``pieces - 1``. ``values`` is false in a sealed
    metadata-only backup. ``name_key`` (32 bytes) is the same in all containers of a
    backup: which of them holds a name is told by its HMAC under it.
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
    """A segment in the index, and how much is in it. Its names are not below its ``bound``, and all names of
    the segments before it are."""

    bound: str
    secrets: int
    versions: int


class Index(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sealed index. ``signer`` and ``directory`` (a SHA-256) tie what can be read
    without a key to what cannot be made without one. ``first`` and ``last`` are the lowest and the highest
    hash of its names (hex), empty if there is none."""

    backup_id: str
    piece: int
    pieces: int
    source: str
    policy: str
    values: bool
    created_at: str
    name_key: str
    first: str
    last: str
    signer: str
    directory: str
    segments: tuple[SegmentInfo, ...]

    @property
    def about(self) -> ContainerHeader:
        return ContainerHeader(
            backup_id=self.backup_id,
            piece=self.piece,
            pieces=self.pieces,
            source=self.source,
            policy=self.policy,
            values=self.values,
            created_at=self.created_at,
            name_key=unhex(self.name_key, KEY_SIZE, "A name key"),
        )

    def find(self, name: str) -> int:
        """Return the number of the only segment that can hold a name, or -1 if there is none."""
        return bisect_right(self.segments, name, key=lambda s: s.bound) - 1


prepare(Index)


def make_index(
    about: ContainerHeader,
    segments: list[SegmentInfo],
    span: tuple[bytes, bytes],
    signer: bytes,
    directory: bytes,
) -> Index:
    """Put an index together; ``span`` is the lowest and the highest hash of the names."""
    return Index(
        backup_id=about.backup_id,
        piece=about.piece,
        pieces=about.pieces,
        source=about.source,
        policy=about.policy,
        values=about.values,
        created_at=about.created_at,
        name_key=about.name_key.hex(),
        first=span[0].hex(),
        last=span[1].hex(),
        signer=signer.hex(),
        directory=directory.hex(),
        segments=tuple(segments),
    )


def encode_index(index: Index) -> bytes:
    """Return an index as it is sealed: padded, for its length would tell that of names."""
    plain = canonical.encode(index)
    return plain + zeros(len(plain))


def bound_between(before: str, name: str) -> str:
    """Return the shortest beginning of a name that is above the name before it.

    Code points are in the order of their UTF-8 bytes, so texts are compared as they are.
    """
    pairs = enumerate(zip(before, name, strict=False))
    same = next((at for at, (pair, other) in pairs if pair != other), len(before))
    return name[: same + 1]


def decode_index(data: bytes) -> Index:
    """Parse an index strictly."""
    plain = data.rstrip(b"\0")
    index = canonical.decode(unpad(data, len(plain), "The index"), Index, "The index")
    if not 0 <= index.piece < index.pieces:
        raise Malformed("A container's number is out of bounds.")
    unhex(index.name_key, KEY_SIZE, "A name key")
    for text in (index.first, index.last):
        unhex(text, cobblestone.SIZE if index.segments else 0, "A name's hash")
    if index.first > index.last:
        raise Malformed("The index's range of names is upside down.")
    bounds = [segment.bound for segment in index.segments]
    if bounds[:1] not in ([], [""]) or any(map(ge, bounds, bounds[1:])):
        raise Malformed("The index's segments do not ascend, or do not begin with every name.")
    if any(segment.secrets < 1 or segment.versions < segment.secrets for segment in index.segments):
        raise Malformed("The index has an empty segment.")
    return index
