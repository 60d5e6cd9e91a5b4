"""Reading back: what was just sealed, and what any keyless host can check."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from msgspec import Struct

from strongroom.container import layout
from strongroom.container.digests import ValueDigester, value_digester
from strongroom.container.filekeys import FileKeys
from strongroom.container.outer import read_outer, read_segments
from strongroom.container.ranges import RangeReader
from strongroom.container.reader import open_index
from strongroom.container.segment import Rows, check_values, unpack_rows
from strongroom.container.writer import Sealed, fold_segment
from strongroom.errors import VerificationFailed


class Scrubbed(Struct, frozen=True, kw_only=True):
    """A container that holds together, as far as can be told without a key."""

    size: int
    sha256: bytes
    signer: str
    segments: int


def scrub(reader: RangeReader, *, trusted: frozenset[str] | None = None) -> Scrubbed:
    """Check signature, directory and the SHA-256 of every segment; needs no key.

    This is depth ``digest`` for a container alone. Raises as :func:`outer.read_outer`.
    """
    outer = read_outer(reader, trusted=trusted)
    whole = hashlib.sha256(outer.header.raw)
    for values, rows in read_segments(reader, outer):
        whole.update(values)
        whole.update(rows)
    whole.update(outer.tail)
    return Scrubbed(
        size=reader.size, sha256=whole.digest(), signer=outer.fingerprint, segments=len(outer.entries)
    )


def check_sealed(reader: RangeReader, sealed: Sealed, *, digest_key: bytes) -> None:
    """Reopen what was sealed with the retained file key and compare.

    Digests are computed again from the decrypted values. Raises
    :class:`~strongroom.errors.VerificationFailed` if anything differs from what went in,
    or what :meth:`reader.Container.open` raises if it does not even open.
    """
    outer = read_outer(reader, trusted=None)
    keys = FileKeys.of(sealed.file_key.reveal(), outer.header)
    index = open_index(keys, outer)
    digester = value_digester(digest_key, index.source)
    whole, fold = hashlib.sha256(outer.header.raw), hashlib.sha256()
    for number, (values, message) in enumerate(read_segments(reader, outer)):
        whole.update(values)
        whole.update(message)
        rows = unpack_rows(keys.open(layout.ROWS, number, message))
        plain = keys.open(layout.VALUES, number, values) if index.values else None
        fold_segment(fold.update, rows.json, _digests(rows, plain, digester))
    whole.update(outer.tail)
    _compare(sealed, reader.size, whole.digest(), fold.digest())


def _digests(rows: Rows, plain: bytes | None, digester: ValueDigester) -> bytes:
    if plain is None:
        return b""
    digests = b"".join(_compute(rows, check_values(plain, rows.rows), digester))
    if digests != rows.digests:
        raise VerificationFailed("A stored digest is not that of the stored value.")
    return digests


def _compute(rows: Rows, values: bytes, digester: ValueDigester) -> Iterator[bytes]:
    start = 0
    for row in rows.rows:
        cut = []
        for version in row.versions:
            if version.length is not None:
                cut.append((version.number, values[start : start + version.length]))
                start += version.length
        yield from digester(row.name, cut)


def _compare(sealed: Sealed, size: int, sha256: bytes, fold: bytes) -> None:
    if (size, sha256) != (sealed.size, sealed.sha256):
        raise VerificationFailed("What was read back is not the file that was written.")
    if fold != sealed.fold:
        raise VerificationFailed("What was read back does not hold what was sealed.")
