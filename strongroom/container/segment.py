"""A segment of a container: values, and rows of what is known of them, by columns. Both are padded."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import zstandard
from msgspec import Raw, Struct
from msgspec.structs import replace

from strongroom import freeform
from strongroom.container import canonical
from strongroom.container.cobblestone import SIZE, unpad, zeros
from strongroom.container.errors import Malformed, VerificationFailed
from strongroom.model import Media, RotationSchedule, Secret, SecretBytes, SecretVersion, VersionState

# -- Columns: rows written member by member, each member a line a row. So neighbours are alike, and compress


T = TypeVar("T")

ABSENT = Raw(b"")
"""What stands for a member that has its default: an empty line."""

_EFFORT = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST, window_log=22, hash_log=17, min_match=7
)
"""Level 1 with a larger table. What finds 3 % more of a container takes four times as long, a seventh of a
capture (the bar: a backup of 100,000 lines in at most the time of restic)."""
_ENCODER = msgspec.json.Encoder()


def encode_column(values: Sequence[object]) -> bytes:
    """Return a line for each value: canonical JSON, or nothing for :data:`ABSENT`, and a line feed."""
    return _ENCODER.encode_lines(values)


class Column(Generic[T]):
    """How one member is read, line by line.

    Args:
        default: makes the value that an empty line stands for, which is never written out. Without it no
            line may be empty.
    """

    def __init__(self, type_: Any, *, default: Callable[[], T] | None = None, **options: Any) -> None:
        self._decoder = msgspec.json.Decoder(list[type_], **options)
        self._default = default

    def read(self, lines: Sequence[bytes], data: bytes, at: int) -> tuple[list[T], int]:
        """Parse the lines that begin at an offset of ``data``, of each value only its one encoding.

        Return the values, and where the next column begins. Raise Malformed.
        """
        if b"" not in lines:
            values = self._decode(lines)
            written = encode_column(values)
            if self._default is dict and not all(values):
                raise Malformed("A column has an empty object, for which an empty line stands.")
        else:
            values, written = self._read_some(lines)
        if not data.startswith(written, at):
            raise Malformed("A column is not in its one canonical encoding.")
        return values, at + len(written)

    def _read_some(self, lines: Sequence[bytes]) -> tuple[list[T], bytes]:
        """Parse lines some of which are empty."""
        if (default := self._default) is None:
            raise Malformed("A column lacks a value.")
        found = iter(self._decode([line for line in lines if line]))
        values = [next(found, default()) if line else default() for line in lines]
        nothing = default()
        return values, encode_column([ABSENT if value == nothing else value for value in values])

    def _decode(self, lines: Sequence[bytes]) -> list[T]:
        try:
            values: list[T] = self._decoder.decode(b"[%b]" % b",".join(lines))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # No cause: a validation message can quote what it read.
            raise Malformed("A column is not what the format asks for.") from None
        return values


def decode_columns(data: bytes, rows: int, columns: Sequence[Column[Any]]) -> list[list[Any]]:
    """Parse columns, each of as many lines as there are rows; raise Malformed."""
    lines = data.split(b"\n")
    if len(lines) != rows * len(columns) + 1 or lines[-1]:
        raise Malformed("Columns have more or fewer lines than there are rows.")
    found, at = [], 0
    for number, column in enumerate(columns):
        values, at = column.read(lines[number * rows : (number + 1) * rows], data, at)
        found.append(values)
    return found


MOST_WINDOW = 32 * 1024 * 1024
"""What a decoder has to hold at once besides what comes out."""


def compress(columns: Iterable[bytes | bytearray]) -> tuple[int, bytes]:
    """Return the length of the columns together and one frame of them.

    Each column has blocks of its own. What is usual in dates is rare in names, and a block has one table of
    what is usual.

    Raises:
        VerificationFailed: they do not come back from that as they were.
    """
    joined = b"".join(kept := list(columns))
    compressor = zstandard.ZstdCompressor(compression_params=_EFFORT).compressobj(size=len(joined))
    parts = []
    for column in kept:
        parts += [compressor.compress(column), compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    frame = b"".join([*parts, compressor.flush()])
    if decompress(frame, len(joined)) != joined:
        raise VerificationFailed("What was compressed does not come back as it was.")
    return len(joined), frame


def decompress(frame: bytes, length: int) -> bytes:
    """Return what one frame holds, which has to be ``length`` bytes."""
    # The frame's own size field is compared first, so that no frame makes us allocate
    # more than the limit already checked.
    try:
        stated = zstandard.get_frame_parameters(frame)
        if stated.content_size != length or stated.window_size > MOST_WINDOW:
            raise Malformed("A compressed frame has not the length it should have, or too large a window.")
        return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError:
        raise Malformed("A compressed frame is damaged.") from None


# -- Rows: a secret's metadata as a segment stores it, by columns -------------------------------


class VersionRow(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """One version. ``length`` is that of its value in bytes; ``None`` if none is stored. Field order is the
    format's."""

    number: int
    length: int | None = None
    media: Media = Media.TEXT
    state: VersionState = VersionState.LIVE
    created_at: str | None = None


class SecretRow(Struct, frozen=True, gc=False):
    """A secret without its values. The order of the fields is that of the format's columns."""

    name: str
    type: str
    versions: tuple[VersionRow, ...]
    tags: dict[str, str] = {}
    created_at: str | None = None
    updated_at: str | None = None
    expires_at: str | None = None
    rotation: RotationSchedule | None = None
    metadata: dict[str, Any] = {}

    @property
    def length(self) -> int:
        """How many bytes of values it has."""
        versions = self.versions
        if len(versions) == 1:  # nearly always, and this is asked of every row
            return versions[0].length or 0
        return sum([v.length for v in versions if v.length])


MOST_NUMBER = canonical.MOST
"""The highest number of a version; what is keyed over it has 8 bytes for it."""


class _Metadata(Column[dict[str, Any]]):
    """Free-form metadata may be any spelling of a JSON object. Nearly always it is our own."""

    def __init__(self) -> None:
        super().__init__(dict[str, Any], default=dict, float_hook=freeform.number)

    def read(self, lines: Sequence[bytes], data: bytes, at: int) -> tuple[list[dict[str, Any]], int]:
        try:
            found, end = super().read(lines, data, at)
        except (Malformed, ValueError):
            end = at + sum(map(len, lines)) + len(lines)
            return [_parse_metadata(line) if line else {} for line in lines], end
        flat = data.find(b"[", at, end) < 0 and data.count(b"{", at, end) <= len(lines)
        if not flat and not all(map(freeform.fits, found)):
            raise Malformed("Metadata is nested deeper than the format allows.")
        return found, end


def _parse_metadata(line: bytes) -> dict[str, Any]:
    try:
        metadata = freeform.parse(line)
    except ValueError:
        # No cause: a message can quote what it read.
        raise Malformed("A secret's metadata is not what the format asks for.") from None
    if not metadata or not line.startswith(b"{") or not line.endswith(b"}"):
        raise Malformed("A secret's metadata is empty, or has white space around it.")
    return metadata


_TEXT = Column[str](str)
_TIME = Column[str | None](str, default=lambda: None)
_COLUMNS: tuple[Column[Any], ...] = (
    _TEXT,
    _TEXT,
    Column[tuple[VersionRow, ...]](tuple[VersionRow, ...]),
    Column[dict[str, str]](dict[str, str], default=dict),
    _TIME,
    _TIME,
    _TIME,
    Column[RotationSchedule | None](RotationSchedule, default=lambda: None),
    _Metadata(),
)
COLUMNS = len(_COLUMNS)


def bare(secret: Secret) -> Secret:
    """Return a secret without values and without free-form metadata, which may hold some."""
    versions = tuple([replace(version, value=None) for version in secret.versions])
    return replace(secret, versions=versions, metadata={})


def to_secrets(rows: list[SecretRow], values: bytes) -> Iterator[Secret]:
    """Yield the secrets of a segment's rows and values."""
    start = 0
    for row in rows:
        length = row.length
        yield to_secret(row, values[start : start + length])
        start += length


def to_secret(row: SecretRow, values: bytes) -> Secret:
    """Return the secret of a row and its own values, one after another."""
    versions, start = [], 0
    for v in row.versions:
        value = None
        if v.length is not None:
            value = SecretBytes(values[start : start + v.length])
            start += v.length
        versions.append(
            SecretVersion(number=v.number, value=value, media=v.media, state=v.state, created_at=v.created_at)
        )
    return Secret(
        name=row.name,
        versions=tuple(versions),
        type=row.type,
        tags=row.tags,
        created_at=row.created_at,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
        rotation=row.rotation,
        metadata=row.metadata,
    )


def encode_columns(secrets: Sequence[Secret], values: Sequence[bytes]) -> list[bytes]:
    """Return the columns of the rows of secrets. Of a value nothing but its length is there.

    Args:
        values: all that are stored of these secrets, in order.

    Raises:
        TypeError: the metadata holds what JSON does not know, a value among it.
    """
    lengths = map(len, values)
    versions = [
        [
            (v.number, None if v.value is None else next(lengths), v.media, v.state, v.created_at)
            for v in secret.versions
        ]
        for secret in secrets
    ]
    return [
        encode_column([secret.name for secret in secrets]),
        encode_column([secret.type for secret in secrets]),
        encode_column(versions),
        encode_column([secret.tags or ABSENT for secret in secrets]),
        encode_column([ABSENT if (time := secret.created_at) is None else time for secret in secrets]),
        encode_column([ABSENT if (time := secret.updated_at) is None else time for secret in secrets]),
        encode_column([ABSENT if (time := secret.expires_at) is None else time for secret in secrets]),
        encode_column([secret.rotation or ABSENT for secret in secrets]),
        encode_column([secret.metadata or ABSENT for secret in secrets]),
    ]


def encode_secrets(secrets: Sequence[Secret]) -> bytes:
    """Return the columns together, as a frame holds them."""
    stored = [v.value.reveal() for secret in secrets for v in secret.versions if v.value is not None]
    return b"".join(encode_columns(secrets, stored))


def decode_rows(data: bytes, rows: int) -> list[SecretRow]:
    """Parse columns strictly: known members, one encoding but for ``metadata``, sane versions."""
    found = list(map(SecretRow, *decode_columns(data, rows, _COLUMNS)))
    if not all(map(ascending, found)):
        raise Malformed("The versions of a secret do not ascend, or have an impossible length.")
    return found


def ascending(row: SecretRow) -> bool:
    """Tell whether versions ascend from 0 or more, and lengths are possible."""
    last = -1
    for version in row.versions:
        if version.number <= last or (version.length is not None and version.length < 0):
            return False
        last = version.number
    return 0 <= last <= MOST_NUMBER and (row.rotation is None or canonical.in_bounds(row.rotation.days))


# -- A segment's two plaintexts: values, and compressed rows with their digests. Both are padded ---


MAX_COLUMNS = 32 * 1024 * 1024
_HEAD = struct.Struct(">IIII")


class SegmentRows(Struct, frozen=True):
    """What a rows message holds: the rows, and one digest for each stored value in order."""

    rows: list[SecretRow]
    columns: bytes
    digests: bytes


def pack_values(values: list[bytes], length: int) -> bytes:
    """Return the values one after another, and zeros up to the padded length."""
    return b"".join([*values, zeros(length)])


def check_values(plain: bytes, rows: list[SecretRow]) -> bytes:
    """Return the values without their padding; raise Malformed if it is not exact."""
    return unpad(plain, sum([row.length for row in rows]), "What a segment has of values")


class Packed(Struct, frozen=True):
    """The parts of a rows message: how many rows and values, the length of the columns, these
    compressed, and the digests, which do not compress."""

    rows: int
    values: int
    length: int
    frame: bytes
    digests: bytes

    @classmethod
    def of(cls, parts: Sequence[bytes | bytearray], rows: int, digests: list[bytes]) -> Packed:
        """Compress columns; raise VerificationFailed if they do not come back from that as they were."""
        length, frame = compress(parts)
        return cls(rows, len(digests), length, frame, b"".join(digests))


def join_rows(parts: Packed) -> bytes:
    """Return what a rows message is before it is padded."""
    head = _HEAD.pack(parts.rows, parts.values, parts.length, len(parts.frame))
    return head + parts.frame + parts.digests


def pack_rows(parts: Packed) -> bytes:
    """Return a rows message."""
    message = join_rows(parts)
    return message + zeros(len(message))


def split_rows(plain: bytes) -> Packed:
    """Take apart what :func:`pack_rows` made, without unpacking or parsing the rows."""
    parts, end = part_rows(plain)
    unpad(plain, end, "What a segment has of rows")
    return parts


def part_rows(plain: bytes) -> tuple[Packed, int]:
    """Take apart what :func:`join_rows` made, and return where it ends."""
    if len(plain) < _HEAD.size:
        raise Malformed("A segment's rows are too short.")
    rows, values, length, size = _HEAD.unpack_from(plain)
    digests = _HEAD.size + size
    end = digests + values * SIZE
    if end > len(plain) or length > MAX_COLUMNS:
        raise Malformed("A segment's counts are out of bounds.")
    return Packed(rows, values, length, plain[_HEAD.size : digests], plain[digests:end]), end


def unpack_rows(plain: bytes) -> SegmentRows:
    """Parse strictly what :func:`pack_rows` made."""
    parts = split_rows(plain)
    if not parts.rows:
        raise Malformed("A segment has no rows.")
    data = decompress(parts.frame, parts.length)
    rows = decode_rows(data, parts.rows)
    if sum([v.length is not None for row in rows for v in row.versions]) != parts.values:
        raise Malformed("A segment's digests are not as many as its values.")
    return SegmentRows(rows, data, parts.digests)
