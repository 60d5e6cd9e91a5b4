"""What of a container can be read and checked without any key.

Order of checks: magic, version, ending, lengths, signature, envelope, signer's certificate and
trust, directory. Nothing is parsed before the signature but what finds the signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from msgspec import Struct

from strongroom.container import layout
from strongroom.container.certificate import CONTAINER_ROLES, require_signer
from strongroom.container.envelope import MAX_ENVELOPE, Envelope, decode_envelope
from strongroom.container.errors import LegacyFormat, NotABackup, Tampered, Truncated
from strongroom.container.layout import Header, SegmentEntry, Trailer
from strongroom.container.legacy import is_legacy
from strongroom.container.manifest import ContainerEntry
from strongroom.container.ranges import RangeReader, read_exactly
from strongroom.container.signing import verify
from strongroom.container.truncation import binary_ending, check_binary_ending

CONTAINER_DOMAIN = b"strongroom/v1/container"

_LIMITS = {"directory": layout.MAX_DIRECTORY, "index": layout.MAX_INDEX, "envelope": MAX_ENVELOPE}
_TAIL = 64 * 1024
ENDING_BYTES = layout.SIGNATURE.size + layout.TRAILER.size


class Outer(Struct, frozen=True, kw_only=True):
    """A container whose signature is right. ``signer`` is the raw public key, ``signature`` what it made."""

    header: Header
    trailer: Trailer
    entries: tuple[SegmentEntry, ...]
    directory: bytes
    index: bytes
    envelope: Envelope
    signer: bytes
    signature: bytes
    tail: bytes

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the installation that sealed it."""
        return self.envelope.certificate.fingerprint


def read_outer(
    reader: RangeReader,
    *,
    trusted: frozenset[str] | None,
    entry: ContainerEntry | None = None,
    tail_bytes: int = _TAIL,
) -> Outer:
    """Read a container's head and tail (two reads, seldom three) and check the signature.

    ``tail_bytes`` is how much the first read of the tail asks for. With
    :data:`ENDING_BYTES`, signature and trailer alone, no byte of a segment is read. ``entry`` is
    the manifest's: a container that was signed otherwise than it says is Tampered.

    Raises, in this order: LegacyFormat, NotABackup, UnsupportedVersion, Truncated,
    Tampered, Malformed, UntrustedSigner. ``trusted=None`` accepts any installation.
    """
    head = reader.read(0, layout.HEADER.size)
    tail = reader.read(max(0, reader.size - tail_bytes), min(reader.size, tail_bytes))
    _check_magic(head, tail, reader.size)
    if reader.size < layout.LEAST:
        raise Truncated("The container ends too early.")
    header = layout.parse_header(head)
    check_binary_ending(tail, reader.size, layout.END, what="container")
    trailer = layout.parse_trailer(tail[-layout.TRAILER.size :], _LIMITS)
    if reader.size - trailer.start > len(tail):
        tail = read_exactly(reader, trailer.start, reader.size - trailer.start)
    outer = _parse_tail(header, trailer, tail[trailer.start - reader.size :], trusted)
    if entry is not None:
        _require_named(outer, entry)
    return outer


def _require_named(outer: Outer, entry: ContainerEntry) -> None:
    """Refuse another container than the manifest's signer vouched for.

    The signer alone does not tell them apart: whoever steals that key later can seal another one. What is
    read of a container without hashing all of it is bound by its signature, which stands for every digest.
    """
    if outer.signer.hex() != entry.signer:
        raise Tampered("The container was sealed by another key than its manifest says.")
    require_signature(outer, entry.container_signature, by="manifest")


def require_signature(outer: Outer, signature: str, *, by: str) -> None:
    """Refuse a container that has another signature than what vouches for it says (hex); raise Tampered."""
    if outer.signature.hex() != signature:
        raise Tampered(f"The container was exchanged: its {by} names another signature.")


def _parse_tail(header: Header, trailer: Trailer, tail: bytes, trusted: frozenset[str] | None) -> Outer:
    index_at = trailer.directory
    envelope_at = index_at + trailer.index
    signature_at = envelope_at + trailer.envelope
    directory, index = tail[:index_at], tail[index_at:envelope_at]
    raw = tail[envelope_at:signature_at]
    public, signature = layout.SIGNATURE.unpack_from(tail, signature_at)
    verify(public, CONTAINER_DOMAIN, signed_message(header, directory, index, raw, trailer), signature)
    envelope = decode_envelope(raw)
    if envelope.certificate.public != public:
        raise Tampered("The container's certificate is that of another key than the one that signed it.")
    require_signer(envelope.certificate, may=CONTAINER_ROLES, what="container", trusted=trusted)
    return Outer(
        header=header,
        trailer=trailer,
        entries=layout.parse_directory(directory, trailer.start),
        directory=directory,
        index=index,
        envelope=envelope,
        signer=public,
        signature=signature,
        tail=tail,
    )


def signed_message(
    header: Header, directory: bytes, index: bytes, envelope: bytes, trailer: Trailer
) -> bytes:
    """Return what a container's signature is over: everything, the segments by digest."""
    parts = (hashlib.sha256(part).digest() for part in (directory, index, envelope))
    return b"".join([header.raw, *parts, trailer.raw])


def read_segments(reader: RangeReader, outer: Outer) -> Iterator[tuple[bytes, bytes]]:
    """Yield each segment's two messages, their SHA-256 checked; one read a segment."""
    for entry in outer.entries:
        yield read_segment(reader, entry)


def read_segment(reader: RangeReader, entry: SegmentEntry) -> tuple[bytes, bytes]:
    """Read a segment's messages of values and of rows; raise Tampered."""
    data = read_exactly(reader, entry.offset, entry.size)
    values, rows = data[: entry.values], data[entry.values :]
    _check_sha256(values, entry.values_sha256)
    _check_sha256(rows, entry.rows_sha256)
    return values, rows


def read_rows(reader: RangeReader, entry: SegmentEntry) -> bytes:
    """Read a segment's message of rows alone; raise Tampered."""
    data = read_exactly(reader, entry.offset + entry.values, entry.rows)
    _check_sha256(data, entry.rows_sha256)
    return data


def _check_sha256(data: bytes, expected: bytes) -> None:
    actual = hashlib.sha256(data).digest() if data else bytes(32)
    if actual != expected:
        raise Tampered("A segment is not the one that was sealed.")


def _check_magic(head: bytes, tail: bytes, size: int) -> None:
    if head.startswith(layout.MAGIC):
        return
    if layout.MAGIC.startswith(head):
        raise Truncated("The container ends too early.")
    if is_legacy(head):
        raise LegacyFormat("This is an old file: a salt and a Fernet token.")
    if binary_ending(tail, size, layout.END) == (True, True):
        raise Tampered("The beginning of the container was altered.")
    raise NotABackup("This is not a Strongroom container.")
