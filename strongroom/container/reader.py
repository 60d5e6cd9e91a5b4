"""Reading a container: only what is asked for, in bounded memory; and what can be checked without any key."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import ge

from msgspec import Struct

from strongroom.container import layout
from strongroom.container.about import ContainerHeader, Index, decode_index
from strongroom.container.cobblestone import SIZE, FileKeys, ValueDigester, name_hashes
from strongroom.container.document import binary_ending, check_binary_ending
from strongroom.container.errors import (
    LegacyFormat,
    Malformed,
    NotABackup,
    Tampered,
    Truncated,
    VerificationFailed,
)
from strongroom.container.layout import Header, SegmentEntry, Trailer
from strongroom.container.legacy import is_legacy
from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.container.ranges import RangeReader, read_exactly
from strongroom.container.segment import (
    SecretRow,
    SegmentRows,
    check_values,
    to_secret,
    to_secrets,
    unpack_rows,
)
from strongroom.container.signing import CONTAINER_ROLES, Certificate, require_signer, verify
from strongroom.container.wrapping import (
    MAX_ENVELOPE,
    Envelope,
    Identity,
    WrappingKey,
    WrappingKeyRecord,
    choose,
    decode_envelope,
    unlock,
)
from strongroom.model import Secret

# -- What of a container can be read and checked without any key --------------------------------
#
# Order of checks: magic, version, ending, lengths, signature, envelope, signer's certificate and
# trust, directory. Nothing is parsed before the signature but what finds the signature.


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
        # Refuse another container than the manifest's signer vouched for. The signer alone does not tell them
        # apart: whoever steals that key later can seal another one. What is read of a container without
        # hashing all of it is bound by its signature, which stands for every digest.
        if outer.signer.hex() != entry.signer:
            raise Tampered("The container was sealed by another key than its manifest says.")
        require_signature(outer, entry.container_signature, by="manifest")
    return outer


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


# -- Reading a container: only what is asked for, in memory bounded by one segment --------------


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
        unlocked: dict[str, WrappingKey] | None = None,
    ) -> Container:
        """Open with whichever identity fits.

        Args:
            newer: a later generation of the wrapping key's record; then only this one's
                recipients count.
            trusted: fingerprints of installations; ``None`` proves integrity only, and the
                caller has to say that the signer was not checked.
            entry: the manifest's, if there is one. The signature and the wrapping key that it names are
                compared before any key is tried: that none fits would be told of another's envelope.
            unlocked: the wrapping keys that were opened before, by their ids, which this one joins. So a key
                service is asked once for all containers of a run.

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
        record = choose(outer.envelope, newer)
        known = {} if unlocked is None else unlocked
        wrapping_key = known.get(record.id)
        if wrapping_key is None or wrapping_key.record != record:
            wrapping_key = known[record.id] = unlock(record, identities)
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

    def check_all(self) -> int:
        """Open all rows and values and hold them to the index; return how many secrets there are.

        It makes nothing of them: that is a third of what reading them costs (the bar of verifying).
        """
        return sum(len(segment.hashes) for segment in self._segments(values=True))

    def compare_all(self, digest: ValueDigester) -> int:
        """Do the same, and compare each value with the keyed digest that was taken when it was captured.

        Raises:
            VerificationFailed: one differs.
        """
        return sum(_compared(segment, digest) for segment in self._segments(values=True))

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
        # Read a segment's message of rows alone; raise Tampered.
        entry = self._outer.entries[number]
        data = read_exactly(self._reader, entry.offset + entry.values, entry.rows)
        _check_sha256(data, entry.rows_sha256)
        message = data
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


def _compared(segment: _ReadSegment, digest: ValueDigester) -> int:
    values, digests = segment.values, segment.rows.digests
    at = kept = 0
    for row in segment.rows.rows:
        for version in row.versions:
            if version.length is None:
                continue
            computed = digest(row.name, version.number, values[at : at + version.length])
            if computed != digests[kept : kept + SIZE]:
                raise VerificationFailed(
                    f"secret '{row.name}' version {version.number} is not the value that was captured"
                )
            at, kept = at + version.length, kept + SIZE
    return len(segment.hashes)


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
