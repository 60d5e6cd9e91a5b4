"""Reading back: what was just sealed, and what any keyless host can check."""

from __future__ import annotations

import hashlib

from msgspec import Struct

from strongroom.container import layout
from strongroom.container.certificate import Certificate
from strongroom.container.errors import VerificationFailed
from strongroom.container.filekeys import FileKeys
from strongroom.container.keyless import read_outer, read_segments
from strongroom.container.manifest import ContainerEntry
from strongroom.container.ranges import RangeReader
from strongroom.container.reader import open_index
from strongroom.container.segment import split_rows
from strongroom.container.writer import SealedContainer, fold_segment


class Scrubbed(Struct, frozen=True, kw_only=True):
    """A container that holds together, as far as can be told without a key."""

    size: int
    sha256: bytes
    certificate: Certificate
    segments: int


def scrub(
    reader: RangeReader, *, trusted: frozenset[str] | None = None, entry: ContainerEntry | None = None
) -> Scrubbed:
    """Check signature, directory and the SHA-256 of every segment; needs no key.

    This is depth ``digest`` for a container alone. Raises as :func:`outer.read_outer`.
    """
    outer = read_outer(reader, trusted=trusted, entry=entry)
    digest = hashlib.sha256(outer.header.raw)
    for values, rows in read_segments(reader, outer):
        digest.update(values)
        digest.update(rows)
    digest.update(outer.tail)
    return Scrubbed(
        size=reader.size,
        sha256=digest.digest(),
        certificate=outer.envelope.certificate,
        segments=len(outer.entries),
    )


def check_sealed(reader: RangeReader, sealed: SealedContainer) -> None:
    """Reopen what was sealed with the retained file key and compare it, byte for byte, with
    what it was made of: counts, compressed rows, digests and values. (That the rows come back
    from their compression was seen when they were compressed.)

    Raises :class:`~strongroom.container.errors.VerificationFailed` if anything differs, or what
    :meth:`reader.Container.open` raises if it does not even open.
    """
    outer = read_outer(reader, trusted=None)
    keys = FileKeys.of(sealed.file_key.reveal(), outer.header)
    index = open_index(keys, outer)
    digest, fold = hashlib.sha256(outer.header.raw), hashlib.sha256()
    for number, (values, message) in enumerate(read_segments(reader, outer)):
        digest.update(values)
        digest.update(message)
        plain = keys.open(layout.VALUES, number, values) if index.values else b""
        fold_segment(fold.update, split_rows(keys.open(layout.ROWS, number, message)), plain)
    digest.update(outer.tail)
    _compare(sealed, reader.size, digest.digest(), fold.digest())


def _compare(sealed: SealedContainer, size: int, sha256: bytes, fold: bytes) -> None:
    if (size, sha256) != (sealed.size, sealed.sha256):
        raise VerificationFailed("What was read back is not the file that was written.")
    if fold != sealed.fold:
        raise VerificationFailed("What was read back does not hold what was sealed.")
