"""Rows: a secret's metadata as a segment stores it, one JSON line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import asdict, replace

from strongroom import freeform
from strongroom.container import canonical
from strongroom.container.errors import Malformed
from strongroom.model import Media, Rotation, Secret, SecretBytes, Version, VersionState


class VersionRow(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """One version. ``length`` is that of its value in bytes; absent if none is stored."""

    number: int
    length: int | None = None
    media: Media = Media.TEXT
    state: VersionState = VersionState.LIVE
    created_at: str | None = None


class Row(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """A secret without its values. Field names and order are the format's."""

    name: str
    type: str
    versions: tuple[VersionRow, ...]
    tags: dict[str, str] = {}
    created_at: str | None = None
    updated_at: str | None = None
    expires_at: str | None = None
    rotation: Rotation | None = None
    metadata: dict[str, Any] = {}

    @property
    def length(self) -> int:
        """How many bytes of values it has."""
        versions = self.versions
        if len(versions) == 1:  # nearly always, and this is asked of every row
            return versions[0].length or 0
        return sum([v.length for v in versions if v.length])


class _Written(Row, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """A row whose metadata is as it was written. Nobody else's text of a number is ours to judge."""

    metadata: Raw | UnsetType = UNSET  # type: ignore[assignment]


MOST_NUMBER = canonical.MOST
"""The highest number of a version; what is keyed over it has 8 bytes for it."""

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Row, float_hook=freeform.number)
_WRITTEN = msgspec.json.Decoder(_Written)


def bare(secret: Secret) -> Secret:
    """Return a secret without values and without free-form metadata, which may hold some."""
    versions = tuple([replace(version, value=None) for version in secret.versions])
    return replace(secret, versions=versions, metadata={})


def to_secrets(rows: list[Row], values: bytes) -> Iterator[Secret]:
    """Yield the secrets of a segment's rows and values."""
    start = 0
    for row in rows:
        length = row.length
        yield to_secret(row, values[start : start + length])
        start += length


def to_secret(row: Row, values: bytes) -> Secret:
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


def _versions(rows: tuple[VersionRow, ...], values: bytes) -> list[Version]:
    versions, start = [], 0
    for v in rows:
        value = None
        if v.length is not None:
            value = SecretBytes(values[start : start + v.length])
            start += v.length
        versions.append(
            Version(number=v.number, value=value, media=v.media, state=v.state, created_at=v.created_at)
        )
    return versions


def encode_rows(rows: Sequence[Row]) -> bytes:
    """Return the JSON lines, each ended by a line feed."""
    return _ENCODER.encode_lines(rows)


def encode_secrets(secrets: Sequence[Secret]) -> bytes:
    """Return the rows of secrets as JSON lines.

    A secret is its own row: its fields are the format's, and a value stands there as its length.
    Making a row of each would cost a backup of many small secrets a tenth of its time.

    Raises:
        TypeError: the metadata holds what JSON does not know; of a value nothing but its length would stay.
    """
    lengths: list[int] = []

    def length(value: object) -> int:
        if not isinstance(value, SecretBytes):
            raise TypeError
        lengths.append(len(value))
        return lengths[-1]

    lines = msgspec.json.Encoder(enc_hook=length).encode_lines(secrets)
    if len(lengths) != sum([v.value is not None for secret in secrets for v in secret.versions]):
        raise TypeError
    return lines


def decode_rows(data: bytes) -> list[Row]:
    """Parse JSON lines strictly: known fields, one encoding but for ``metadata``, sane versions."""
    rows = _decode_own(data)
    if rows is None:
        if not data.endswith(b"\n"):
            raise Malformed("A segment's rows do not end in a line feed.")
        rows = [_decode_row(line) for line in data[:-1].split(b"\n")]
    for row in rows:
        if not ascending(row):
            raise Malformed("The versions of a secret do not ascend, or have an impossible length.")
    return rows


def _decode_own(data: bytes) -> list[Row] | None:
    """Return the rows if this very library writes them, metadata included, as they stand: nearly always."""
    try:
        rows = _DECODER.decode_lines(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    alike = encode_rows(rows) == data and all(freeform.fits(row.metadata) for row in rows if row.metadata)
    return rows if alike else None


def _decode_row(line: bytes) -> Row:
    """Parse a row whose metadata may be any spelling of a JSON object; all else has its one encoding."""
    try:
        row = _WRITTEN.decode(line)
        metadata = {} if row.metadata is UNSET else freeform.parse(bytes(row.metadata))
    except (ValueError, RecursionError):
        # No cause: a validation message can quote what it read.
        raise Malformed("A segment's rows are not what the format asks for.") from None
    if _ENCODER.encode(row) != line or (not metadata and row.metadata is not UNSET):
        raise Malformed("A segment's rows are not in their one canonical encoding.")
    return Row(**{**asdict(row), "metadata": metadata})


def ascending(row: Row) -> bool:
    """Tell whether versions ascend from 0 or more, and lengths are possible."""
    last = -1
    for version in row.versions:
        if version.number <= last or (version.length is not None and version.length < 0):
            return False
        last = version.number
    return 0 <= last <= MOST_NUMBER and (row.rotation is None or canonical.in_bounds(row.rotation.days))
