"""The plain metadata-only document: valid JSON, one secret a line, no value, a digest.

::

    {"format":"strongroom-metadata/1",
    "about":{...},
    "secrets":[
    {...},
    {...}
    ],
    "digest":"sha256:<64 hex>",
    "length":"<12 digits>"}

The digest is over every byte before the line that holds it. It guards against accidents;
who signed what, the manifest says. Fields are allow-listed: free-form metadata can hold
secrets and never gets here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import msgspec
from msgspec import Struct

from strongroom.container import canonical
from strongroom.container.document import (
    LENGTH_TAIL,
    SEARCH,
    DocumentKind,
    check_length,
    check_opening,
    length_tail,
)
from strongroom.container.errors import Malformed, Tampered
from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.container.ranges import RangeReader, read_exactly
from strongroom.errors import SourceError
from strongroom.model import RotationSchedule, Secret, SecretVersion, VersionState, prepare

METADATA = DocumentKind("metadata", "metadata document")

_ABOUT = b'"about":'
_OPEN = b',\n"secrets":['
_CLOSE = b"\n]"
_DIGEST_OPEN, _DIGEST_CLOSE = b',\n"digest":"sha256:', b'"'
_DIGEST_TAIL = len(_DIGEST_OPEN) + 64 + len(_DIGEST_CLOSE)
_TAIL = _DIGEST_TAIL + LENGTH_TAIL
_BLOCK = 1024 * 1024
MAX_LINE = 16 * 1024 * 1024


class DocumentAbout(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which backup a document belongs to. ``piece`` counts from 0."""

    backup_id: str
    piece: int
    pieces: int
    source: str
    policy: str
    created_at: str


class MetadataVersion(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """One version, by number and state."""

    number: int
    state: VersionState = VersionState.LIVE
    created_at: str | None = None


class MetadataRow(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The fields of a secret that a plain document may hold; no other ever does."""

    name: str
    type: str
    versions: tuple[MetadataVersion, ...]
    tags: dict[str, str] = {}
    created_at: str | None = None
    updated_at: str | None = None
    expires_at: str | None = None
    rotation: RotationSchedule | None = None


prepare(DocumentAbout, MetadataRow)


class CheckedMetadata(Struct, frozen=True, kw_only=True):
    """A document as written or checked: size in bytes, SHA-256 of the whole file, counts."""

    size: int
    sha256: bytes
    secrets: int
    versions: int
    about: DocumentAbout

    @property
    def hexdigest(self) -> str:
        return self.sha256.hex()


_ENCODER = msgspec.json.Encoder(order="deterministic")


class _MetadataOutput:
    def __init__(self, sink: Callable[[bytes], object]) -> None:
        self._sink = sink
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._sink(data)
        self.sha256.update(data)
        self.size += len(data)


def write_document(
    sink: Callable[[bytes], object], secrets: Iterable[Secret], *, about: DocumentAbout
) -> CheckedMetadata:
    """Write the allow-listed metadata of ``secrets``, in the given order, streamed."""
    out = _MetadataOutput(sink)
    out.write(METADATA.opening + _ABOUT + canonical.encode(about) + _OPEN)
    count = versions = 0
    lines: list[bytes] = []
    for secret in secrets:
        lines.append((b",\n" if count else b"\n") + _encode(to_metadata(secret)))
        count += 1
        versions += len(secret.versions)
        if len(lines) == 1024:
            out.write(b"".join(lines))
            lines.clear()
    out.write(b"".join(lines) + _CLOSE)
    out.write(_DIGEST_OPEN + out.sha256.hexdigest().encode() + _DIGEST_CLOSE)
    out.write(length_tail(out.size + LENGTH_TAIL))
    return CheckedMetadata(
        size=out.size, sha256=out.sha256.digest(), secrets=count, versions=versions, about=about
    )


def to_metadata(secret: Secret) -> MetadataRow:
    """Return the allow-listed part of a secret."""
    return MetadataRow(
        secret.name,
        secret.type,
        tuple(MetadataVersion(v.number, v.state, v.created_at) for v in secret.versions),
        secret.tags,
        secret.created_at,
        secret.updated_at,
        secret.expires_at,
        secret.rotation,
    )


class ManifestPlace(NamedTuple):
    """The manifest that names a document, and its entry there."""

    manifest: Manifest
    entry: ContainerEntry

    def check(self, about: DocumentAbout) -> None:
        """Hold a document to what its manifest says of it; raise Tampered."""
        manifest = self.manifest
        stated = (about.backup_id, about.policy, about.source, about.piece, about.pieces)
        of_it = (manifest.backup_id, manifest.policy, manifest.source)
        if stated != (*of_it, self.entry.piece, len(manifest.containers)):
            raise Tampered(f"Document {self.entry.piece} belongs to another backup than the manifest says.")


def check_document(reader: RangeReader, *, place: ManifestPlace | None = None) -> CheckedMetadata:
    """Read a whole document, check digest and structure, and say what is in it.

    Args:
        place: where a manifest names it; a document alone has none.

    Raises, in this order: NotABackup, UnsupportedVersion, Truncated, Tampered, Malformed, Tampered if it is
    not what its manifest says.
    The whole is hashed before a line is parsed, so an altered line is Tampered.
    """
    sha256 = _check_frame(reader)
    lines = _Lines(reader)
    secrets = versions = 0
    for row in lines.rows():
        secrets += 1
        versions += len(row.versions)
    if place is not None:
        place.check(lines.about)
        if secrets != place.entry.secrets:
            raise Tampered(f"Document {place.entry.piece} does not hold what the manifest says.")
    return CheckedMetadata(
        size=reader.size, sha256=sha256, secrets=secrets, versions=versions, about=lines.about
    )


def read_document(reader: RangeReader, *, place: ManifestPlace | None = None) -> Iterator[Secret]:
    """Yield every secret (its versions without values); checks as :func:`check_document`."""
    _check_frame(reader)
    lines = _Lines(reader)
    if place is not None:
        place.check(lines.about)
    for row in lines.rows():
        yield Secret(
            name=row.name,
            versions=tuple(
                SecretVersion(number=v.number, state=v.state, created_at=v.created_at) for v in row.versions
            ),
            type=row.type,
            tags=row.tags,
            created_at=row.created_at,
            updated_at=row.updated_at,
            expires_at=row.expires_at,
            rotation=row.rotation,
        )


def _check_frame(reader: RangeReader) -> bytes:
    """Check beginning, ending and digest; return the SHA-256 of the whole file."""
    head = reader.read(0, 64)
    end = reader.read(max(0, reader.size - SEARCH), min(SEARCH, reader.size))
    tail = end[-_TAIL:]
    check_opening(METADATA, head, tail[-LENGTH_TAIL:], reader.size)
    check_length(METADATA.words, end, reader.size)
    covered = reader.size - _TAIL
    sha256 = hashlib.sha256()
    for offset in range(0, covered, _BLOCK):
        sha256.update(read_exactly(reader, offset, min(_BLOCK, covered - offset)))
    expected = _DIGEST_OPEN + sha256.hexdigest().encode() + _DIGEST_CLOSE
    if tail[: len(expected)] != expected:
        raise Tampered("The metadata document is not the one that was written.")
    sha256.update(tail)
    return sha256.digest()


class _Lines:
    """The document line by line, in memory bounded by the longest line."""

    def __init__(self, reader: RangeReader) -> None:
        self._lines = _split(reader, len(METADATA.opening), reader.size - _TAIL)
        line = next(self._lines, b"")
        if not (line.startswith(_ABOUT) and line.endswith(b",")) or next(self._lines, b"") != _OPEN[2:]:
            raise Malformed("The metadata document's beginning is not what the format asks for.")
        about = canonical.decode(line[len(_ABOUT) : -1], DocumentAbout, "The metadata document")
        if not 0 <= about.piece < about.pieces:
            raise Malformed("A document's number is out of bounds.")
        self.about = about

    def rows(self) -> Iterator[MetadataRow]:
        pending: bytes | None = None
        for line in self._lines:
            if line == b"]":
                break
            if pending is not None:
                if not pending.endswith(b","):
                    raise Malformed("The metadata document's lines are not separated as they should be.")
                yield _decode(pending[:-1])
            pending = line
        else:
            raise Malformed("The metadata document's list of secrets has no end.")
        if next(self._lines, None) is not None:
            raise Malformed("Something follows the metadata document's list of secrets.")
        if pending is not None:
            yield _decode(pending)


def _split(reader: RangeReader, start: int, end: int) -> Iterator[bytes]:
    """Yield the lines between two offsets, without their line feeds."""
    rest = b""
    for offset in range(start, end, _BLOCK):
        lines = (rest + read_exactly(reader, offset, min(_BLOCK, end - offset))).split(b"\n")
        rest = lines.pop()
        if len(rest) > MAX_LINE:
            raise Malformed("A line of the metadata document is longer than the format allows.")
        yield from lines
    yield rest


def _encode(row: MetadataRow) -> bytes:
    try:
        return _ENCODER.encode(row)
    except (TypeError, ValueError, OverflowError):
        raise SourceError(f"The metadata of {row.name!r} cannot be written as JSON.") from None


def _decode(line: bytes) -> MetadataRow:
    row = canonical.decode(line, MetadataRow, "A line of the metadata document")
    numbers = [version.number for version in row.versions]
    if not numbers or numbers[0] < 0 or any(a >= b for a, b in pairwise(numbers)):
        raise Malformed("The versions of a secret do not ascend.")
    return row
