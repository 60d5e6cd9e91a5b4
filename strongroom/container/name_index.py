"""An index of names: what a backup says of its secrets without their values, or how that differs from before.

It is sealed as a container (FORMAT.md, section 15), so nothing of its own is needed to seal, sign or open it.
Its blocks are the container's values. One name is found in one block, a pattern by a scan of all names.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, islice, pairwise
from operator import ge
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from strongroom.container import canonical, segment
from strongroom.container.about import ContainerHeader
from strongroom.container.canonical import unhex
from strongroom.container.cobblestone import KEY_SIZE, SIZE, Random, name_hash
from strongroom.container.errors import FormatError, Malformed, NotABackup
from strongroom.container.marks import StatementKind, is_time
from strongroom.container.ranges import RangeReader
from strongroom.container.reader import Container
from strongroom.container.segment import (
    ABSENT,
    MOST_NUMBER,
    Column,
    VersionRow,
    decode_columns,
    decompress,
    encode_column,
)
from strongroom.container.signing import MANIFEST_ROLES, CertifiedSigner
from strongroom.container.wrapping import Identity, WrappingKey, WrappingKeyRecord
from strongroom.container.writer import SealedContainer, Sink, write_container
from strongroom.model import Media, Secret, SecretBytes, SecretVersion, VersionState, prepare

SOURCE = "strongroom-names/1"
"""The source of such a container. No source is called so, since a name of one has no slash."""
HEAD = "head"
GONE = -1
"""The version of a row that says that a secret is not there any more."""
MOST_OLDER = 100_000
"""Older versions of one secret that a row may tell of: more are nobody's, and would be counted one by one."""
MOST_BLOCK = 16 * 1024 * 1024
FULL_BLOCK = 2 * 1024 * 1024
"""Bytes of lines at which a writer ends a block."""
LONGEST = 200
"""Indexes that continue one another at most: whoever reads the last reads them all."""


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
    versions: Sequence[SecretVersion | VersionRow], has_value: Callable[[int], bool]
) -> tuple[Older, ...]:
    """Return all versions but the newest.

    Args:
        has_value: tells of a version's number whether the backup holds its value.
    """
    runs: list[Older] = []
    for version in versions[:-1]:
        alone = Older(
            version.number,
            version.number,
            version.state,
            has_value(version.number),
            version.created_at,
            version.created_at,
        )
        before = runs[-1] if runs else None
        follows = before is not None and before.last + 1 == version.number
        if (
            before is not None
            and follows
            and (before.state, before.has_value) == (alone.state, alone.has_value)
        ):
            runs[-1] = replace(before, last=version.number, last_at=version.created_at)
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


class IndexLink(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
    previous: IndexLink | None
    blocks: tuple[tuple[str, int], ...]

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.blocks)


prepare(IndexHead)


def digest_of(containers: Iterable[str]) -> str:
    """Return one digest for the digests (hex) of a backup's containers, in the order of their numbers.

    It stays the same when somebody signs the manifest again.
    """
    return hashlib.sha256(b"".join(map(bytes.fromhex, containers))).hexdigest()


# -- lines and blocks ----------------------------------------------------------------
#
# A line is a row as work goes on with it: the members as the columns have them, and the digest in hex, with
# tabs between. No JSON has a tab of its own. Lines ascend as rows do: by the names as JSON texts.

GONE_LINE = b"\t" * 8
"""What follows a name in the line that says that the secret is not there any more."""
_NAME, _NUMBER, _STATE, _WRITTEN, _TAGS, _EXPIRES, _STORED, _OLDER = range(8)
_TIME = Column[str | None](str, default=lambda: None)
_NOT_THERE = Column[int](int, default=lambda: GONE)
_COLUMNS: tuple[Column[Any], ...] = (
    Column[str](str),
    _NOT_THERE,
    Column[VersionState](VersionState, default=lambda: VersionState.LIVE),
    _TIME,
    Column[dict[str, str]](dict[str, str], default=dict),
    _TIME,
    Column[bool](bool, default=lambda: True),
    Column[tuple[Older, ...]](tuple[Older, ...], default=tuple),
)


def encode_rows(rows: Sequence[IndexRow]) -> list[bytes]:
    """Return the lines of rows."""
    there = [row.version != GONE for row in rows]
    columns = (
        [row.name for row in rows],
        [row.version if row.version != GONE else ABSENT for row in rows],
        [ABSENT if row.state is VersionState.LIVE else row.state for row in rows],
        [ABSENT if row.written_at is None else row.written_at for row in rows],
        [Raw(canonical.encode(row.tags)) if row.tags else ABSENT for row in rows],
        [ABSENT if row.expires_at is None else row.expires_at for row in rows],
        [False if held and not row.digest else ABSENT for row, held in zip(rows, there, strict=True)],
        [row.older or ABSENT for row in rows],
    )
    written = [encode_column(column).split(b"\n") for column in columns]
    digests = [row.digest.encode() for row in rows]
    return [b"\t".join(fields) for fields in zip(*written, digests, strict=False)]


def encode_row(row: IndexRow) -> bytes:
    """Return the line of one row."""
    return encode_rows([row])[0]


def gone(name: bytes) -> bytes:
    """Return the line that says that the secret of this :func:`quoted_name` is not there any more."""
    return name + GONE_LINE


def decode_row(line: bytes) -> IndexRow:
    """Parse one line."""
    *fields, digest = line.split(b"\t")
    values = [value for [value] in decode_columns(b"\n".join([*fields, b""]), 1, _COLUMNS)]
    name, version, state, written_at, tags, expires_at, stored, older = values
    row = IndexRow(name, version, state, written_at, tags, expires_at, digest.decode(), older)
    there = 0 <= version <= MOST_NUMBER and len(digest) == 2 * SIZE * stored
    if encode_row(row) != line or not (there or line == gone(fields[_NAME])):
        raise Malformed("A row of an index of names says what it cannot.")
    if row.older and not _ascend(row):
        raise Malformed("The older versions in a row of an index of names do not ascend, or are too many.")
    return row


def _ascend(row: IndexRow) -> bool:
    ends = [number for run in row.older for number in (run.first - 1, run.last)]
    rising = all(low < high for low, high in zip(ends[::2], ends[1::2], strict=True))
    apart = all(low <= high for low, high in pairwise([-1, *ends, row.version - 1]))
    return rising and apart and sum(run.last - run.first + 1 for run in row.older) <= MOST_OLDER


def quoted_name(line: bytes) -> bytes:
    """Return the name of a line as it stands there; lines ascend by that."""
    return line.partition(b"\t")[0]


class BlockRows:
    """The rows of a block: their names as they stand there, and their lines when they are asked for.

    All names are looked at: that there are as many as were announced, ascending, from the ``first`` on. The
    rest of a row is looked at by who decodes its line.
    """

    def __init__(self, data: bytes, digests: bytes, rows: int, first: str) -> None:
        *self.names, self._rest = data.split(b"\n", rows)
        self._digests = digests
        said = (len(self.names), self._rest.count(b"\n"), self._rest[-1:])
        whole = said == (rows, rows * (len(_COLUMNS) - 1), b"\n")
        begins = self.names[:1] == [msgspec.json.encode(first)]
        quoted = data.count(b'"\n"', 0, len(data) - len(self._rest)) == rows - 1
        if not (whole and begins and quoted) or any(map(ge, self.names, islice(self.names, 1, None))):
            raise Malformed("A block of an index of names is not what it says.")

    @cached_property
    def _columns(self) -> list[list[bytes]]:
        rows, lines = len(self.names), self._rest.split(b"\n")
        return [lines[at : at + rows] for at in range(0, len(lines) - 1, rows)]

    @cached_property
    def _before(self) -> list[int]:
        """How many digests there are before each row's, or end with it."""
        numbers, stored = self._columns[_NUMBER - 1], self._columns[_STORED - 1]
        has = [bool(number) and not other for number, other in zip(numbers, stored, strict=True)]
        before = [0, *accumulate(has)]
        if before[-1] * SIZE != len(self._digests):
            raise Malformed("A block of an index of names has not as many digests as values.")
        return before

    def find(self, name: bytes) -> int:
        """Return the number of the row of a name as it stands there, or -1."""
        at = bisect_left(self.names, name)
        return at if self.names[at : at + 1] == [name] else -1

    def tagged(self, part: bytes) -> Iterator[int]:
        """Yield the numbers of the rows whose tags have a part."""
        rows = len(self.names)
        tags = self._rest.split(b"\n", (_TAGS - 1) * rows)[-1]
        number, at, place = 0, 0, tags.find(part)
        while place >= 0:
            number += tags.count(b"\n", at, place)
            if number >= rows:
                return
            yield number
            number, at = number + 1, tags.index(b"\n", place) + 1
            place = tags.find(part, at)

    def tags(self, number: int) -> bytes:
        """Return the tags of a row, as they stand there."""
        return self._columns[_TAGS - 1][number]

    def line(self, number: int) -> bytes:
        """Return one row as a line."""
        fields = (self.names[number], *(column[number] for column in self._columns))
        digest = self._digests[self._before[number] * SIZE : self._before[number + 1] * SIZE]
        return b"\t".join([*fields, digest.hex().encode()])

    def lines(self) -> Iterator[bytes]:
        """Yield all rows as lines."""
        hexed = self._digests.hex().encode()
        digests = (hexed[2 * SIZE * at : 2 * SIZE * end] for at, end in pairwise(self._before))
        return map(b"\t".join, zip(self.names, *self._columns, digests, strict=True))


class Block(Struct, frozen=True):
    """Rows as an index has them: what the first is called, how many there are, and all of them packed."""

    first: str
    rows: int
    content: bytes

    @classmethod
    def of(cls, lines: Sequence[bytes]) -> Block:
        *columns, digests = zip(*(line.split(b"\t") for line in lines), strict=True)
        held = [bytes.fromhex(digest.decode()) for digest in digests if digest]
        parts = segment.Packed.of([b"\n".join([*column, b""]) for column in columns], len(lines), held)
        first = msgspec.json.decode(columns[_NAME][0], type=str)
        return cls(first, len(lines), segment.join_rows(parts))


def blocks(lines: Iterable[bytes]) -> Iterator[Block]:
    """Cut lines into blocks; memory is bounded by one."""
    return map(Block.of, portions(lines, FULL_BLOCK))


def portions(lines: Iterable[bytes], full: int) -> Iterator[list[bytes]]:
    """Cut lines into portions of about ``full`` bytes."""
    gathered: list[bytes] = []
    size = 0
    for line in lines:
        if gathered and size + len(line) > full:
            yield gathered
            gathered, size = [], 0
        gathered.append(line)
        size += len(line)
    if gathered:
        yield gathered


def unpack_block(content: bytes, first: str, rows: int) -> BlockRows:
    """Return the rows of a block. Its own sizes are compared first, so that none makes us allocate more."""
    parts, end = segment.part_rows(content)
    if end != len(content) or not 0 < parts.length <= MOST_BLOCK or parts.rows != rows:
        raise Malformed("A block of an index of names has an impossible length.")
    return BlockRows(decompress(parts.frame, parts.length), parts.digests, parts.rows, first)


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
) -> SealedContainer:
    """Seal an index into ``sink``; ``frame`` gives a block by its number, each once and in any order."""
    about = ContainerHeader(
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
        versions=(SecretVersion(number=0, value=SecretBytes(value), media=Media.BINARY),),
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
        self._firsts = [msgspec.json.encode(first) for first, _ in self.head.blocks]
        if any(map(ge, self._firsts, self._firsts[1:])):
            raise Malformed("The blocks of an index of names do not ascend.")
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
    def about(self) -> ContainerHeader:
        return self._container.about

    def block(self, number: int) -> BlockRows:
        """Return the rows of one block."""
        first, rows = self.head.blocks[number]
        try:
            block = unpack_block(self._read(_block_name(number)), first, rows)
            if block.names[-1] >= min(self._firsts[number + 1 : number + 2], default=b"\xff"):
                raise Malformed("A block of an index of names has a row of the next one.")
        except FormatError as error:
            self.damage = error
            raise
        return block

    def _read(self, name: str) -> bytes:
        secret = self._container.find(name)
        value = None if secret is None else secret.versions[-1].value
        if value is None:
            raise Malformed("An index of names lacks a part.")
        return value.reveal()


# -- The receipt of an index of names: the control role's word, given as a backup is made, which index is
# its
#
# An index is signed by whoever sealed it. A key of that role which is stolen later could sign another one; a
# receipt makes that worth nothing.


MOST = 16_384
"""Bytes of a whole receipt; it has some 900."""


class IndexReceipt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The index of a backup is the file of this ``sha256``, and the container of this signature.
    ``containers`` and ``previous`` are as in its
    head, ``chain`` is the backup of the first of those that it continues, or its own."""

    backup_id: str
    sha256: str
    container_signature: str
    containers: str
    chain: str
    previous: IndexLink | None
    made_at: str


prepare(IndexReceipt)


class IndexReceiptKind(StatementKind[IndexReceipt], frozen=True, kw_only=True):
    """Receipts of indexes of names."""

    def check(self, statement: IndexReceipt) -> None:
        receipt = statement
        unhex(receipt.sha256, 32, "An index's digest")
        unhex(receipt.container_signature, 64, "An index's signature")
        unhex(receipt.containers, 32, "A digest of containers")
        before = receipt.previous
        if before is not None:
            unhex(before.sha256, 32, "An index's digest")
        fits = before is None or receipt.chain <= before.backup_id < receipt.backup_id
        if not fits or (before is None) != (receipt.chain == receipt.backup_id):
            raise Malformed("The receipt of an index of names continues what it cannot.")
        if not is_time(receipt.made_at):
            raise Malformed("The time of the receipt of an index of names has no zone.")


INDEX = IndexReceiptKind(
    name="index",
    words="receipt of an index of names",
    roles=MANIFEST_ROLES,
    most=MOST,
    record=IndexReceipt,
    moment="made_at",
)
