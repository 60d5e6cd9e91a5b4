"""Writing a container: streamed, in memory bounded by one segment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from operator import ge

from msgspec import Struct

from strongroom import freeform
from strongroom.container import canonical, cobblestone, layout
from strongroom.container.about import ContainerHeader, SegmentInfo, bound_between, encode_index, make_index
from strongroom.container.cobblestone import FileKeys, Random, ValueDigester, require_key, value_digester
from strongroom.container.errors import DuplicateSecret, SecretTooLarge, VerificationFailed
from strongroom.container.layout import Trailer
from strongroom.container.manifest import ContainerEntry
from strongroom.container.ranges import RangeReader
from strongroom.container.reader import (
    CONTAINER_DOMAIN,
    open_index,
    read_outer,
    read_segments,
    signed_message,
)
from strongroom.container.segment import (
    COLUMNS,
    MOST_NUMBER,
    Packed,
    bare,
    encode_columns,
    encode_secrets,
    pack_rows,
    pack_values,
    split_rows,
)
from strongroom.container.signing import Certificate, CertifiedSigner
from strongroom.container.wrapping import FILE_ID_SIZE, Envelope, WrappingKey, encode_envelope
from strongroom.errors import SourceError
from strongroom.model import Secret, SecretBytes, SecretVersion

SEGMENT_SECRETS = 2048
SEGMENT_VALUES = 256 * 1024
SEGMENT_COLUMNS = 1024 * 1024
"""Where a segment is full: so that one secret is found with few and small reads."""

MAX_VALUES = 64 * 1024 * 1024
MAX_ROW = 16 * 1024 * 1024

BATCH = 64
BATCH_VALUES = SEGMENT_VALUES // 4
BATCH_COLUMNS = SEGMENT_COLUMNS // 4

Sink = Callable[[bytes], object]
Pair = tuple[bytes, Secret]
Note = Callable[[Sequence[Pair], Sequence[int], Sequence[bytes]], None]
"""Is given a few secrets that were taken, how many values of each are stored, and the digests of these."""


class SealedContainer(Struct, frozen=True, kw_only=True):
    """What was written, and what is needed to reopen and compare it.

    ``sha256`` is the whole file's, ``signature`` the one at its end. ``first_hash`` and
    ``last_hash`` are the first and last name hash (empty if there is no secret). ``file_key`` and
    ``fold`` (a SHA-256 over rows with digests, and values, as they were before sealing) are for
    :func:`check.check_sealed`, after which this record is to be dropped; neither may be stored or sent.
    """

    size: int
    sha256: bytes
    signature: bytes
    secrets: int
    versions: int
    first_hash: bytes
    last_hash: bytes
    wrapping_key_id: str
    file_key: SecretBytes
    fold: bytes

    @property
    def hexdigest(self) -> str:
        """The file's SHA-256 in hex, which is what the object is named by."""
        return self.sha256.hex()


def write_container(
    sink: Sink,
    rows: Iterable[Pair],
    *,
    about: ContainerHeader,
    wrapping_key: WrappingKey,
    signer: CertifiedSigner,
    digest_key: bytes,
    note: Note | None = None,
    _random: Random = os.urandom,
) -> SealedContainer:
    """Seal secrets into ``sink``.

    Args:
        rows: name hash (:func:`digests.name_hash` under ``about.name_key``) and secret,
            ascending by name.
        digest_key: 32 bytes; keys the digest stored for each value.
        note: is told of each secret that was taken, with its digests.

    Raises:
        DuplicateSecret: two neighbours have one name.
        SecretTooLarge: a secret has more than 64 MiB of values or 16 MiB of metadata.
        SourceError: a secret's versions do not ascend, or its metadata is not JSON.
    """
    require_key(about.name_key, "name key")
    writer = _ContainerWriter(
        sink,
        about=about,
        wrapping_key=wrapping_key,
        signer=signer,
        digester=value_digester(digest_key, about.source),
        note=note,
        random=_random,
    )
    writer.add_all(rows)
    return writer.finish()


class _ContainerOutput:
    """The sink, counted and hashed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._sink(data)
        self._sha256.update(data)
        self.size += len(data)

    def digest(self) -> bytes:
        return self._sha256.digest()


class _OpenSegment:
    """What the segment being filled holds so far."""

    def __init__(self, bound: str) -> None:
        self.bound = bound
        self.last = ""
        self.columns = [bytearray() for _ in range(COLUMNS)]
        self.size = 0
        self.values: list[bytes] = []
        self.digests: list[bytes] = []
        self.length = 0
        self.secrets = 0
        self.versions = 0

    def fits(self, batch: _EncodedBatch) -> bool:
        """Say whether a batch may still be added. An empty segment takes anything."""
        return not self.secrets or (
            self.secrets + len(batch.pairs) <= SEGMENT_SECRETS
            and self.length + batch.length <= SEGMENT_VALUES
            and self.size + batch.size <= SEGMENT_COLUMNS
        )

    def add(self, batch: _EncodedBatch, digests: list[bytes]) -> None:
        """Add a batch, with the digest of each of its values."""
        for column, part in zip(self.columns, batch.columns, strict=True):
            column.extend(part)
        self.size += batch.size
        self.secrets += len(batch.pairs)
        self.versions += batch.versions
        self.length += batch.length
        self.values += batch.values
        self.digests += digests
        self.last = batch.pairs[-1][1].name


class _EncodedBatch:
    """A few neighbours, encoded together: per-secret calls are what sealing spends time on.

    ``values`` are all values of theirs that are to be stored, in order; ``stored``, how many of each secret.
    """

    def __init__(self, pairs: list[Pair], values: list[bytes], stored: list[int]) -> None:
        self.pairs = pairs
        self.values = values
        self.stored = stored
        self._secrets = [secret for _, secret in pairs]
        self.length = sum(map(len, values))
        self.versions = sum([len(secret.versions) for secret in self._secrets])
        self.columns = _encode(self._secrets, values)
        self.size = sum(map(len, self.columns))

    @property
    def small(self) -> bool:
        """Whether the batch is far below what a segment holds."""
        return self.length <= BATCH_VALUES and self.size <= BATCH_COLUMNS

    def digests(self, digester: ValueDigester) -> list[bytes]:
        """Return the digest of each value."""
        values = iter(self.values)
        return [
            digester(secret.name, version.number, next(values))
            for secret in self._secrets
            for version in secret.versions
            if version.value is not None
        ]

    def singles(self) -> Iterator[_EncodedBatch]:
        """Yield batches of one secret each."""
        for pair in self.pairs:
            values = [version.value.reveal() for version in pair[1].versions if version.value is not None]
            yield _EncodedBatch([pair], values, [len(values)])


def _batches(rows: Iterable[Pair], *, values: bool) -> Iterator[_EncodedBatch]:
    """Yield the rows in batches, cut early where values or metadata are large.

    So what is gathered stays about a segment's size, whatever the secrets' sizes are.
    """
    size, length = BATCH, 0
    pairs: list[Pair] = []
    kept: list[bytes] = []
    stored: list[int] = []
    for pair in rows if values else ((name_hash, bare(secret)) for name_hash, secret in rows):
        pairs.append(pair)
        before = len(kept)
        for version in pair[1].versions:
            if version.value is not None:
                kept.append(version.value.reveal())
                length += len(version.value)
        stored.append(len(kept) - before)
        if len(pairs) == size or length > BATCH_VALUES:
            batch = _EncodedBatch(pairs, kept, stored)
            size, length, pairs, kept, stored = BATCH if batch.small else 1, 0, [], [], []
            yield batch
    if pairs:
        yield _EncodedBatch(pairs, kept, stored)


class _ContainerWriter:
    def __init__(
        self,
        sink: Sink,
        *,
        about: ContainerHeader,
        wrapping_key: WrappingKey,
        signer: CertifiedSigner,
        digester: ValueDigester,
        note: Note | None,
        random: Random,
    ) -> None:
        self._out = _ContainerOutput(sink)
        self._note = note
        self._about, self._signer, self._digester, self._random = about, signer, digester, random
        file_id, self._file_key = random(FILE_ID_SIZE), random(cobblestone.KEY_SIZE)
        self._keys = FileKeys(self._file_key, file_id)
        self._wrapping_key_id = wrapping_key.id
        self._envelope = encode_envelope(
            Envelope(
                file_key=wrapping_key.wrap_file_key(self._file_key, file_id),
                wrapping_key=wrapping_key.record,
                certificate=signer.certificate,
            )
        )
        self._segment = _OpenSegment("")
        self._infos: list[SegmentInfo] = []
        self._directory = bytearray()
        self._fold = hashlib.sha256()
        self._last: str | None = None
        self._span: tuple[bytes, ...] = ()
        self._out.write(self._keys.header.raw)

    def add_all(self, rows: Iterable[Pair]) -> None:
        for batch in _batches(rows, values=self._about.values):
            self._take(batch.pairs)
            if batch.small:
                self._add(batch)
                continue
            for single in batch.singles():
                name = single.pairs[0][1].name
                if single.length > MAX_VALUES:
                    raise SecretTooLarge(f"The values of {name!r} come to more than {MAX_VALUES >> 20} MiB.")
                if single.size > MAX_ROW:
                    raise SecretTooLarge(f"The metadata of {name!r} comes to more than {MAX_ROW >> 20} MiB.")
                self._add(single)

    def _add(self, batch: _EncodedBatch) -> None:
        segment = self._segment
        if not segment.fits(batch):
            self._flush(segment)
            segment = self._segment = _OpenSegment(bound_between(segment.last, batch.pairs[0][1].name))
        digests = batch.digests(self._digester)
        segment.add(batch, digests)
        if self._note is not None:
            self._note(batch.pairs, batch.stored, digests)

    def _take(self, pairs: list[Pair]) -> None:
        """Hold a batch to the order of the names, and widen the range of hashes by it."""
        names = [secret.name for _, secret in pairs]
        if self._last is not None:
            names.insert(0, self._last)
        if any(map(ge, names, names[1:])):
            for before, name in pairwise(names):
                if name == before:
                    raise DuplicateSecret(f"There are two secrets named {name!r}.")
                if name < before:
                    break
            raise ValueError("secrets must be sorted by their names")
        self._last = names[-1]
        hashes = [*self._span, *[name_hash for name_hash, _ in pairs]]
        self._span = (min(hashes), max(hashes))

    def _flush(self, segment: _OpenSegment) -> None:
        number = len(self._infos)
        if number == layout.MAX_SEGMENTS:
            raise SecretTooLarge("A container cannot hold this many secrets.")
        values = plain = b""
        if self._about.values:
            plain = pack_values(segment.values, segment.length)
            values = self._keys.seal(layout.VALUES, number, plain, self._random)
            self._out.write(values)
        packed = Packed.of(segment.columns, segment.secrets, segment.digests)
        rows = self._keys.seal(layout.ROWS, number, pack_rows(packed), self._random)
        self._out.write(rows)
        self._directory += layout.ENTRY.pack(
            len(values), len(rows), _sha256(values) if values else bytes(32), _sha256(rows)
        )
        self._infos.append(SegmentInfo(segment.bound, segment.secrets, segment.versions))
        fold_segment(self._fold.update, packed, plain)

    def finish(self) -> SealedContainer:
        if self._segment.secrets:
            self._flush(self._segment)
        signature = self._write_end()
        return SealedContainer(
            size=self._out.size,
            sha256=self._out.digest(),
            signature=signature,
            secrets=sum(info.secrets for info in self._infos),
            versions=sum(info.versions for info in self._infos),
            first_hash=min(self._span, default=b""),
            last_hash=max(self._span, default=b""),
            wrapping_key_id=self._wrapping_key_id,
            file_key=SecretBytes(self._file_key),
            fold=self._fold.digest(),
        )

    def _write_end(self) -> bytes:
        directory = bytes(self._directory)
        span = (min(self._span, default=b""), max(self._span, default=b""))
        record = make_index(self._about, self._infos, span, self._signer.public, _sha256(directory))
        index = self._keys.seal(layout.INDEX, 0, encode_index(record), self._random)
        if len(index) > layout.MAX_INDEX:
            raise SecretTooLarge("The names are too long for a container of this many secrets.")
        tail = directory + index + self._envelope
        total = self._out.size + len(tail) + layout.SIGNATURE.size + layout.TRAILER.size
        trailer = Trailer(len(directory), len(index), len(self._envelope), total)
        message = signed_message(self._keys.header, directory, index, self._envelope, trailer)
        signature = self._signer.sign(CONTAINER_DOMAIN, message)
        self._out.write(tail + layout.SIGNATURE.pack(self._signer.public, signature) + trailer.raw)
        return signature


def fold_segment(update: Callable[[bytes], object], rows: Packed, values: bytes) -> None:
    """Fold what a segment's two messages are made of into a running hash, unambiguously."""
    update(b"%d,%d,%d,%d;" % (rows.rows, rows.values, rows.length, len(rows.frame)))
    for part in (rows.frame, rows.digests, values):
        update(part)


def _encode(secrets: list[Secret], values: list[bytes]) -> list[bytes]:
    for secret in secrets:
        if not _ascend(secret.versions):
            raise SourceError(f"The versions of {secret.name!r} do not ascend, or have no possible number.")
        if secret.rotation and not canonical.in_bounds(secret.rotation.days):
            raise SourceError(f"The rotation of {secret.name!r} has no possible number of days.")
        if secret.metadata and not freeform.fits(secret.metadata):
            raise SourceError(
                f"The metadata of {secret.name!r} is nested deeper than {freeform.DEPTH}, or has a number "
                "that JSON does not know."
            )
    try:
        return encode_columns(secrets, values)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise SourceError(f"The metadata of {_unencodable(secrets)!r} cannot be written as JSON.") from None


def _ascend(versions: tuple[SecretVersion, ...]) -> bool:
    last = -1
    for version in versions:
        if version.number <= last:
            return False
        last = version.number
    return 0 <= last <= MOST_NUMBER


def _unencodable(secrets: list[Secret]) -> str:
    for secret in secrets:
        try:
            encode_secrets([secret])
        except (TypeError, ValueError, OverflowError, RecursionError):
            return secret.name
    return "a secret"


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# -- Reading back: what was just sealed, and what any keyless host can check --------------------


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
