"""An index of names: what a backup says of its secrets without their values, or how that differs from before.

It is sealed as a container (FORMAT.md, section 15), so nothing of its own is needed to seal, sign or open it.
Its blocks are the container's values. One name is found in one block, a pattern by a scan of all bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec
import zstandard
from msgspec import Struct
from msgspec.structs import replace

from strongroom.container import canonical
from strongroom.container.about import About
from strongroom.container.canonical import unhex
from strongroom.container.certificate import CertifiedSigner
from strongroom.container.derive import KEY_SIZE, Random
from strongroom.container.digests import name_hash
from strongroom.container.errors import FormatError, Malformed, NotABackup
from strongroom.container.ranges import RangeReader
from strongroom.container.reader import Container
from strongroom.container.rows import VersionRow
from strongroom.container.stanza import Identity
from strongroom.container.wrapping import WrappingKey, WrappingKeyRecord
from strongroom.container.writer import Sealed, Sink, write_container
from strongroom.model import Media, Secret, SecretBytes, Version, VersionState, prepare

SOURCE = "strongroom-names/1"
"""The source of such a container. No source is called so, since a name of one has no slash."""
HEAD = "head"
GONE = -1
"""The version of a row that says that a secret is not there any more."""
MOST_OLDER = 100_000
"""Older versions of one secret that a row may tell of: more are nobody's, and would be counted one by one."""
MOST_BLOCK = 16 * 1024 * 1024
FULL_BLOCK = 4 * 1024 * 1024
"""Bytes of lines at which a writer ends a block."""
LONGEST = 200
"""Indexes that continue one another at most: whoever reads the last reads them all."""
_LEVEL = 1
_QUOTED = re.compile(rb'\["(?:[^"\\]|\\.)*"')


class Older(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Older versions of a secret whose numbers follow one another and that are alike: from the ``first`` to
    the ``last``, with the times of these two. Field order is the format's."""

    first: int
    last: int
    state: VersionState
    has_value: bool
    first_at: str | None = None
    last_at: str | None = None

    @property
    def words(self) -> str:
        """Say which they are, and what they are if they are no values: '5-9', '3 (destroyed)'."""
        numbers = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        if self.state is not VersionState.LIVE:
            return f"{numbers} ({self.state})"
        return numbers if self.has_value else f"{numbers} (no value)"

    def written_at(self, number: int) -> str | None:
        """Return when one of them was written, as far as that is known."""
        return self.first_at if number == self.first else self.last_at if number == self.last else None


def older_versions(
    versions: Sequence[Version | VersionRow], has_value: Callable[[int], bool]
) -> tuple[Older, ...]:
    """Return all versions but the newest.

    Args:
        has_value: tells of a version's number whether the backup holds its value.
    """
    runs: list[Older] = []
    for one in versions[:-1]:
        alone = Older(
            one.number, one.number, one.state, has_value(one.number), one.created_at, one.created_at
        )
        before = runs[-1] if runs else None
        follows = before is not None and before.last + 1 == one.number
        if (
            before is not None
            and follows
            and (before.state, before.has_value) == (alone.state, alone.has_value)
        ):
            runs[-1] = replace(before, last=one.number, last_at=one.created_at)
        else:
            runs.append(alone)
    return tuple(runs)


class IndexRow(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A secret by its newest version, and its older ones. ``digest`` is the hex that the backup keeps of the
    newest version's value, empty if it has none. Field order is the format's."""

    name: str
    version: int = GONE
    state: VersionState = VersionState.LIVE
    written_at: str | None = None
    tags: dict[str, str] = {}
    expires_at: str | None = None
    digest: str = ""
    older: tuple[Older, ...] = ()


class Link(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The index that another one continues: of which backup, and the SHA-256 (hex) of the file."""

    backup_id: str
    sha256: str


class IndexHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an index is of. ``containers`` is :func:`digest_of` the manifest's.

    Without ``previous`` its rows are all secrets of the backup, else what differs from that index.
    ``blocks`` has each block's first name and number of rows.
    """

    source: str
    containers: str
    previous: Link | None
    blocks: tuple[tuple[str, int], ...]

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.blocks)


prepare(IndexHead)
_ROWS = msgspec.json.Decoder(IndexRow)


def digest_of(containers: Iterable[str]) -> str:
    """Return one digest for the digests (hex) of a backup's containers, in the order of their numbers.

    It stays the same when somebody signs the manifest again.
    """
    return hashlib.sha256(b"".join(map(bytes.fromhex, containers))).hexdigest()


# -- lines and blocks ----------------------------------------------------------------


def encode_row(row: IndexRow) -> bytes:
    """Return the line of a row, ended by a line feed."""
    return canonical.encode([row.name] if row.version == GONE else row) + b"\n"


def gone(quoted: bytes) -> bytes:
    """Return the line that says that the secret of this :func:`quoted_name` is not there any more."""
    return quoted + b"]\n"


def decode_row(line: bytes) -> IndexRow:
    """Parse one line."""
    try:
        row = _ROWS.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # No cause: a validation message can quote what it read.
        raise Malformed("A row of an index of names is not what the format asks for.") from None
    if encode_row(row) != line.rstrip(b"\n") + b"\n":
        raise Malformed("A row of an index of names is not in its one canonical encoding.")
    if row.older and not _ascend(row):
        raise Malformed("The older versions in a row of an index of names do not ascend, or are too many.")
    return row


def _ascend(row: IndexRow) -> bool:
    ends = [number for run in row.older for number in (run.first - 1, run.last)]
    rising = all(low < high for low, high in zip(ends[::2], ends[1::2], strict=True))
    apart = all(low <= high for low, high in pairwise([-1, *ends, row.version - 1]))
    return rising and apart and sum(run.last - run.first for run in row.older) < MOST_OLDER


def quoted_name(line: bytes) -> bytes:
    """Return the beginning of a line up to the end of its name; lines ascend by that."""
    if (match := _QUOTED.match(line)) is None:
        raise Malformed("A row of an index of names has no name.")
    return match[0]


class Block(Struct, frozen=True):
    """Lines, compressed: what the first is called, how many there are, and the frame."""

    first: str
    rows: int
    frame: bytes

    @classmethod
    def of(cls, lines: Sequence[bytes]) -> Block:
        joined = b"".join(lines)
        first = msgspec.json.decode(quoted_name(lines[0])[1:], type=str)
        return cls(first, len(lines), zstandard.ZstdCompressor(level=_LEVEL).compress(joined))


def blocks(lines: Iterable[bytes], *, full: int = 0) -> Iterator[Block]:
    """Cut lines into blocks of about ``full`` bytes; memory is bounded by one."""
    full = full or FULL_BLOCK
    gathered: list[bytes] = []
    size = 0
    for line in lines:
        if gathered and size + len(line) > full:
            yield Block.of(gathered)
            gathered, size = [], 0
        gathered.append(line)
        size += len(line)
    if gathered:
        yield Block.of(gathered)


def unpack_block(frame: bytes) -> bytes:
    """Return a block's lines. The frame's own size is compared first, so that none makes us allocate more."""
    try:
        size = zstandard.get_frame_parameters(frame).content_size
        if not 0 < size <= MOST_BLOCK:
            raise Malformed("A block of an index of names has an impossible length.")
        lines = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError:
        raise Malformed("A block of an index of names is damaged.") from None
    if len(lines) != size or not lines.endswith(b"\n"):
        raise Malformed("A block of an index of names is not what it says.")
    return lines


# -- the file ------------------------------------------------------------------------


def write_name_index(
    sink: Sink,
    head: IndexHead,
    frame: Callable[[int], bytes],
    *,
    backup_id: str,
    policy: str,
    created_at: str,
    wrapping_key: WrappingKey,
    signer: CertifiedSigner,
    _random: Random = os.urandom,
) -> Sealed:
    """Seal an index into ``sink``; ``frame`` gives a block by its number, each once and in any order."""
    about = About(
        backup_id=backup_id,
        piece=0,
        pieces=1,
        source=SOURCE,
        policy=policy,
        values=True,
        created_at=created_at,
        name_key=_random(KEY_SIZE),
    )

    def secrets() -> Iterator[tuple[bytes, Secret]]:
        names = {HEAD: -1, **{_block_name(number): number for number in range(len(head.blocks))}}
        for name in sorted(names):
            value = canonical.encode(head) if name == HEAD else frame(names[name])
            yield name_hash(about.name_key, name), _part(name, value)

    return write_container(
        sink,
        secrets(),
        about=about,
        wrapping_key=wrapping_key,
        signer=signer,
        digest_key=_random(KEY_SIZE),  # nobody compares blocks by it
        _random=_random,
    )


def _block_name(number: int) -> str:
    return f"{number:08}"


def _part(name: str, value: bytes) -> Secret:
    return Secret(
        name=name,
        type=SOURCE,
        versions=(Version(number=0, value=SecretBytes(value), media=Media.BINARY),),
    )


class NameIndex:
    """An opened index. Everything is read on demand and authenticated before use.

    ``damage`` is what was found to be wrong with it since."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.damage: FormatError | None = None
        if container.about.source != SOURCE:
            raise NotABackup("This is a container of secrets, and no index of names.")
        self.head = canonical.decode(self._read(HEAD), IndexHead, "The head of an index of names")
        unhex(self.head.containers, 32, "A digest of containers")
        if self.head.previous is not None:
            unhex(self.head.previous.sha256, 32, "An index's digest")

    @classmethod
    def open(
        cls,
        reader: RangeReader,
        identities: Sequence[Identity],
        *,
        newer: WrappingKeyRecord | None = None,
        trusted: frozenset[str] | None,
    ) -> NameIndex:
        """Open with whichever identity fits. Raises as :meth:`reader.Container.open`, and NotABackup."""
        return cls(Container.open(reader, identities, newer=newer, trusted=trusted))

    @property
    def about(self) -> About:
        return self._container.about

    def block(self, number: int) -> bytes:
        """Return the lines of one block."""
        try:
            return unpack_block(self._read(_block_name(number)))
        except FormatError as error:
            self.damage = error
            raise

    def _read(self, name: str) -> bytes:
        found = self._container.find(name)
        value = None if found is None else found.versions[-1].value
        if value is None:
            raise Malformed("An index of names lacks a part.")
        return value.reveal()
