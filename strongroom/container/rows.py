"""Rows: a secret's metadata as a segment stores it, by columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from strongroom import freeform
from strongroom.container import canonical
from strongroom.container.columns import ABSENT, Column, decode_columns, encode_column
from strongroom.container.errors import Malformed
from strongroom.model import Media, RotationSchedule, Secret, SecretBytes, SecretVersion, VersionState


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
    return Secret(
        name=row.name,
        versions=tuple(_versions(row.versions, values)),
        type=row.type,
        tags=row.tags,
        created_at=row.created_at,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
        rotation=row.rotation,
        metadata=row.metadata,
    )


def _versions(rows: tuple[VersionRow, ...], values: bytes) -> list[SecretVersion]:
    versions, start = [], 0
    for v in rows:
        value = None
        if v.length is not None:
            value = SecretBytes(values[start : start + v.length])
            start += v.length
        versions.append(
            SecretVersion(number=v.number, value=value, media=v.media, state=v.state, created_at=v.created_at)
        )
    return versions


def encode_columns(secrets: Sequence[Secret], values: Sequence[bytes]) -> list[bytes]:
    """Return the columns of the rows of secrets. Of a value nothing but its length is there.

    Args:
        values: all that are stored of these secrets, in order.

    Raises:
        TypeError: the metadata holds what JSON does not know, a value among it.
    """
    lengths = map(len, values)
    versions = [[_written(version, lengths) for version in secret.versions] for secret in secrets]
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


def _written(v: SecretVersion, lengths: Iterator[int]) -> tuple[object, ...]:
    return v.number, None if v.value is None else next(lengths), v.media, v.state, v.created_at


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
