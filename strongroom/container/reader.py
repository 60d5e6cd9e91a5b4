"""Reading a container: only what is asked for, in memory bounded by one segment."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import ge

from msgspec import Struct

from strongroom.container import layout
from strongroom.container.about import ContainerHeader, Index, decode_index
from strongroom.container.certificate import Certificate
from strongroom.container.digests import SIZE, name_hashes
from strongroom.container.envelope import choose
from strongroom.container.errors import Malformed, Tampered
from strongroom.container.filekeys import FileKeys
from strongroom.container.keyless import Outer, read_outer, read_rows, read_segment
from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.container.ranges import RangeReader
from strongroom.container.rows import SecretRow, to_secret, to_secrets
from strongroom.container.segment import SegmentRows, check_values, unpack_rows
from strongroom.container.stanza import Identity
from strongroom.container.wrapping import WrappingKeyRecord, unlock
from strongroom.model import Secret


class Container:
    """An opened container. Everything is read on demand and authenticated before use."""

    def __init__(self, reader: RangeReader, outer: Outer, file_key: bytes) -> None:
        self._reader = reader
        self._outer = outer
        self._keys = FileKeys.of(file_key, outer.header)
        self._index = open_index(self._keys, outer)
        self.about: ContainerHeader = self._index.about

    @classmethod
    def open(
        cls,
        reader: RangeReader,
        identities: Sequence[Identity],
        *,
        newer: WrappingKeyRecord | None = None,
        trusted: frozenset[str] | None,
        entry: ContainerEntry | None = None,
    ) -> Container:
        """Open with whichever identity fits.

        Args:
            newer: a later generation of the wrapping key's record; then only this one's
                recipients count.
            trusted: fingerprints of installations; ``None`` proves integrity only, and the
                caller has to say that the signer was not checked.
            entry: the manifest's, if there is one. The signature and the wrapping key that it names are
                compared before any key is tried: that none fits would be told of another's envelope.

        Raises:
            NotABackup, LegacyFormat, UnsupportedVersion, Truncated, Tampered, Malformed:
                the bytes are wrong, found before any key is tried.
            UntrustedSigner: the signature is right, the signer not in ``trusted``.
            WrongKey: no identity fits.
            Stale: ``newer`` is not newer.
        """
        outer = read_outer(reader, trusted=trusted, entry=entry)
        if entry is not None and entry.wrapping_key != outer.envelope.wrapping_key.id:
            raise Tampered("The container is sealed under another wrapping key than its manifest says.")
        wrapping_key = unlock(choose(outer.envelope, newer), identities)
        file_key = wrapping_key.unwrap_file_key(outer.envelope.file_key, outer.header.file_id)
        return cls(reader, outer, file_key)

    @property
    def signer(self) -> str:
        """The fingerprint of the installation that sealed it."""
        return self._outer.fingerprint

    @property
    def certificate(self) -> Certificate:
        """The certificate of the key that sealed it."""
        return self._outer.envelope.certificate

    @property
    def record(self) -> WrappingKeyRecord:
        """The wrapping key's record that the container itself carries."""
        return self._outer.envelope.wrapping_key

    @property
    def secrets_count(self) -> int:
        return sum(segment.secrets for segment in self._index.segments)

    @property
    def versions_count(self) -> int:
        return sum(segment.versions for segment in self._index.segments)

    def check_entry(self, manifest: Manifest, entry: ContainerEntry) -> None:
        """Hold it to what its manifest says of it; raise Tampered."""
        about = self.about
        stated = (about.backup_id, about.policy, about.source, about.piece, about.pieces, about.values)
        of_it = (manifest.backup_id, manifest.policy, manifest.source)
        span = (self._index.first, self._index.last)
        holds = (*span, self.secrets_count, self.versions_count, self.record.id)
        if stated != (*of_it, entry.piece, len(manifest.containers), manifest.values):
            raise Tampered(
                f"Container {entry.piece} belongs to another place or backup than the manifest says."
            )
        if holds != (entry.first, entry.last, entry.secrets, entry.versions, entry.wrapping_key):
            raise Tampered(f"Container {entry.piece} does not hold what the manifest says.")

    @property
    def segments(self) -> list[int]:
        """How many secrets each of its segments has."""
        return [segment.secrets for segment in self._index.segments]

    def rows(self) -> Iterator[SecretRow]:
        """Yield every secret's metadata, in the order of the names; reads and decrypts no value."""
        for segment in self._segments(values=False):
            yield from segment.rows.rows

    def secrets(self) -> Iterator[Secret]:
        """Yield every secret with its values, in the order of the names."""
        for segment in self._segments(values=True):
            yield from segment.secrets

    def rows_of(self, number: int) -> list[SecretRow]:
        """Return the metadata of one segment's secrets."""
        return self._checked(number, values=False).rows.rows

    def secrets_of(self, number: int) -> Iterable[Secret]:
        """Return one segment's secrets with their values: all of them, or none if a byte was changed."""
        return self._checked(number, values=True).secrets

    def could_have_lain(self, number: int, name: str) -> bool:
        """Tell whether a name would be in one segment if it is in this container."""
        return self._index.find(name) == number

    def hashed(self) -> Iterator[tuple[bytes, Secret]]:
        """Yield every secret after its name's hash, in the order of the names: as a writer takes them."""
        for segment in self._segments(values=True):
            yield from zip(segment.hashes, segment.secrets, strict=True)

    def find(self, name: str) -> Secret | None:
        """Return one secret, reading one segment; ``None`` if it is not in here."""
        number = self._index.find(name)
        if number < 0:
            return None
        rows, values = self._segment(number)
        start = 0
        for row in rows.rows:
            if row.name == name:
                return to_secret(row, values[start : start + row.length])
            start += row.length
        return None

    def some(self, names: Collection[str]) -> Iterator[Secret]:
        """Yield those of the named secrets that are in here, reading only the segments that may hold one."""
        wanted: dict[int, set[str]] = {}
        for name in names:
            wanted.setdefault(self._index.find(name), set()).add(name)
        for number in sorted(wanted.keys() - {-1}):
            rows, values = self._segment(number)
            start = 0
            for row in rows.rows:
                if row.name in wanted[number]:
                    yield to_secret(row, values[start : start + row.length])
                start += row.length

    def digests(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield name, version number and keyed digest of every stored value."""
        for name, digests in self.digested():
            yield from ((name, version, digest) for version, digest in digests.items())

    def digested(self) -> Iterator[tuple[str, dict[int, bytes]]]:
        """Yield each secret's name, with the keyed digest of each value stored by its version's number."""
        yield from ((row.name, digests) for row, digests in self.digested_rows())

    def digested_rows(self) -> Iterator[tuple[SecretRow, dict[int, bytes]]]:
        """Yield every secret's metadata, with the keyed digest of each value stored by its version's number.

        No value is read or decrypted.
        """
        for segment in self._segments(values=False):
            yield from _digested(segment.rows)

    def digested_row(self, name: str) -> tuple[SecretRow, dict[int, bytes]] | None:
        """Return the same of one secret, reading the rows of one segment; ``None`` if it is not in here."""
        number = self._index.find(name)
        described = _digested(self._checked(number, values=False).rows) if number >= 0 else iter(())
        return next((found for found in described if found[0].name == name), None)

    def _segments(self, *, values: bool) -> Iterator[_ReadSegment]:
        """Yield every segment: every name is in its place, none is there twice, and none is missing."""
        span: tuple[bytes, ...] = ()
        for number in range(len(self._outer.entries)):
            segment = self._checked(number, values=values)
            seen = [*span, *segment.hashes]
            span = (min(seen), max(seen))
            yield segment
        if [each.hex() for each in span] != [self._index.first, self._index.last][: len(span)]:
            raise Malformed("The range of names is not the one that the index says.")

    def _checked(self, number: int, *, values: bool) -> _ReadSegment:
        """Return a segment that was held to the index."""
        rows, plain = self._segment(number) if values else (self._rows(number), b"")
        return _ReadSegment(rows, plain, self._check_rows(number, rows))

    def _rows(self, number: int) -> SegmentRows:
        message = read_rows(self._reader, self._outer.entries[number])
        return unpack_rows(self._keys.open(layout.ROWS, number, message))

    def _segment(self, number: int) -> tuple[SegmentRows, bytes]:
        values, message = read_segment(self._reader, self._outer.entries[number])
        rows = unpack_rows(self._keys.open(layout.ROWS, number, message))
        if not self.about.values:
            return rows, b""
        return rows, check_values(self._keys.open(layout.VALUES, number, values), rows.rows)

    def _check_rows(self, number: int, rows: SegmentRows) -> list[bytes]:
        """Hold a segment to the index. Return the names' hashes."""
        info, names = self._index.segments[number], [row.name for row in rows.rows]
        if any(map(ge, names, names[1:])):
            raise Malformed("A segment's names do not ascend.")
        following = self._index.segments[number + 1 : number + 2]
        if names[0] < info.bound or (following and names[-1] >= following[0].bound):
            raise Malformed("A name is in another segment than its own.")
        hashes = name_hashes(self.about.name_key, names)
        if min(hashes).hex() < self._index.first or max(hashes).hex() > self._index.last:
            raise Malformed("A name is in another container than its own.")
        if len(hashes) != info.secrets or sum([len(r.versions) for r in rows.rows]) != info.versions:
            raise Malformed("A segment does not hold as much as the index says.")
        return hashes


class _ReadSegment(Struct, frozen=True):
    """A segment that was read, its values if they were asked for, and the hashes of its names."""

    rows: SegmentRows
    values: bytes
    hashes: list[bytes]

    @property
    def secrets(self) -> Iterator[Secret]:
        return to_secrets(self.rows.rows, self.values)


def _digested(rows: SegmentRows) -> Iterator[tuple[SecretRow, dict[int, bytes]]]:
    digests = iter(rows.digests[at : at + SIZE] for at in range(0, len(rows.digests), SIZE))
    for row in rows.rows:
        yield row, {v.number: next(digests) for v in row.versions if v.length is not None}


def open_index(keys: FileKeys, outer: Outer) -> Index:
    index = decode_index(keys.open(layout.INDEX, 0, outer.index))
    if index.signer != outer.signer.hex():
        raise Tampered("The container was signed again by somebody else.")
    if index.directory != hashlib.sha256(outer.directory).hexdigest():
        raise Tampered("The directory is not the one that was sealed.")
    if len(index.segments) != len(outer.entries):
        raise Malformed("The index and the directory differ in length.")
    if any((entry.values > 0) != index.values for entry in outer.entries):
        raise Malformed("A segment has values where it must not, or none where it must.")
    return index
