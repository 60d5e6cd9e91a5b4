"""A snapshot of a whole server: what a backup says of it, checked offline, and put together again."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, cast

import msgspec
from msgspec import Meta, Struct

from strongroom.container.errors import Malformed, Tampered, Truncated
from strongroom.model import prepare

# -- What a backup says of the snapshot in it, and how its entries are named --------------------
#
# A snapshot is too large for one secret, so it is cut: ``raft-snapshot/<id>/00000`` and so on, beside
# ``raft-snapshot/<id>/about``, which says what makes it whole again.


FORMAT = "strongroom-raft-snapshot-1"
ROOT = "raft-snapshot"
ABOUT = "about"
TYPE = "raft-snapshot"
_ID = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}"
_NAME = re.compile(rf"{ROOT}/({_ID})/({ABOUT}|[0-9]{{5,}})")
_Count = Annotated[int, Meta(ge=0)]


class SnapshotHeader(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A snapshot: which server, which moment, which keys, which bytes.

    Args:
        snapshot: its id, which begins with the time.
        parts, size, sha256: how many parts there are, their bytes in all, and the sum of those.
        index, term: of the Raft log.
        entries, logical: how many entries the storage has, and how many of them belong to mounts.
        unseal_generation: fingerprint of what the unseal keys open; see
            :class:`~strongroom.sources.raft.snapshot.SnapshotState`. Two snapshots that share it need the
            same unseal keys.
        key_term: how often the barrier's key was rotated; needs no other unseal keys. ``None`` if
            the token may not see it.
    """

    format: Annotated[str, Meta(pattern=f"^{FORMAT}$")] = FORMAT
    snapshot: Annotated[str, Meta(pattern=f"^{_ID}$")]
    taken_at: str
    parts: Annotated[int, Meta(ge=1)]
    size: _Count
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    index: _Count
    term: _Count
    entries: _Count
    logical: _Count
    cluster_name: str
    cluster_id: str
    server_version: str
    seal_type: str
    shares: _Count
    threshold: _Count
    unseal_generation: str
    key_term: int | None = None

    def keys_in_words(self) -> str:
        """Say which unseal keys a server needs after it was restored from this."""
        which = f"of generation {self.unseal_generation}" if self.unseal_generation else "of that time"
        if not self.threshold:
            return f"the unseal keys {which}"
        return f"{self.threshold} of the {self.shares} unseal keys {which} ({self.seal_type})"


prepare(SnapshotHeader)
_DECODER = msgspec.json.Decoder(SnapshotHeader)


def parse_about(content: bytes) -> SnapshotHeader:
    """Read what :func:`encode_about` wrote, strictly. Raises Malformed."""
    try:
        return _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed(
            "The backup's description of its snapshot was not written by Strongroom.",
            hint="Restore from another backup.",
        ) from None


def encode_about(about: SnapshotHeader) -> bytes:
    """Return it as JSON."""
    return msgspec.json.encode(about)


def part_name(snapshot: str, part: int | None) -> str:
    """Return a part's name; ``None`` means what is said about all of them."""
    return f"{ROOT}/{snapshot}/{ABOUT if part is None else f'{part:05}'}"


def split_name(name: str) -> tuple[str, int | None] | None:
    """Return snapshot and part, the part being ``None`` for what is said about all of them.

    ``None`` if this is no name of ours. Every number has one spelling.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    part = None if match[2] == ABOUT else int(match[2])
    return (match[1], part) if part_name(match[1], part) == name else None


# -- What a snapshot's ``state.bin`` holds: every entry of the storage, one message each --------
#
# A message is a varint with its length, then protobuf: 1 the key, 2 the value. Keys are in the
# clear and values encrypted by the server's barrier, so this tells what is there and not what it says.


LARGEST = 64 << 20
"""Bytes of one entry. Storage takes 1 MiB unless somebody raised that."""
KEYRING = b"core/keyring"
SEAL_CONFIG = b"core/seal-config"
UNSEAL_KEYS = b"core/hsm/barrier-unseal-keys"
_WANTED = frozenset({KEYRING, SEAL_CONFIG, UNSEAL_KEYS})
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_KEY, _VALUE = 1, 2


class SnapshotState(Struct, frozen=True, kw_only=True):
    """What was found.

    Args:
        entries: how many there are.
        logical: how many of them belong to mounts: secrets and their metadata, among others.
        unseal_generation: fingerprint of the root key as the unseal keys have it encrypted: the
            same for all snapshots that the same unseal keys open, another after each rekeying.
            Empty if the server is so old that it stores no such thing.
        seal_type, shares, threshold: how it is unsealed; 0 and empty if that is not said.
    """

    entries: int
    logical: int
    unseal_generation: str
    seal_type: str = ""
    shares: int = 0
    threshold: int = 0


def scan(stream: BinaryIO) -> SnapshotState:
    """Read all of it; memory is bounded by one entry.

    Raises:
        Malformed: it is not such a stream, or lacks the keyring, without which nothing opens.
        Truncated: it ends within an entry.
    """
    entries = logical = 0
    found: dict[bytes, bytes] = {}
    for message in _messages(stream):
        key = _field(message, _KEY)
        entries += 1
        logical += key.startswith(b"logical/")
        if key in _WANTED:
            found[key] = _field(message, _VALUE)
    if not found.get(KEYRING):
        raise Malformed("The snapshot holds no keyring: with no key could it be read.")
    wrapped = found.get(UNSEAL_KEYS, b"")
    config = _seal_config(found.get(SEAL_CONFIG, b"{}"))
    return SnapshotState(
        entries=entries,
        logical=logical,
        unseal_generation=hashlib.sha256(wrapped).hexdigest()[:16] if wrapped else "",
        seal_type=str(config.get("type", ""))[:40],
        shares=_count(config.get("secret_shares")),
        threshold=_count(config.get("secret_threshold")),
    )


def _seal_config(value: bytes) -> dict[str, object]:
    try:
        found = json.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= 255 else 0


def _messages(stream: BinaryIO) -> Iterator[bytes]:
    while (length := _length(stream)) is not None:
        message = stream.read(length)
        if len(message) != length:
            raise Truncated("The snapshot ends within an entry.")
        yield message


def _length(stream: BinaryIO) -> int | None:
    """Read a message's length; ``None`` at the end of the stream."""
    value = shift = 0
    while byte := stream.read(1):
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
        if shift > 28:
            raise _nonsense()
    if not byte and not shift:
        return None
    if not byte:
        raise Truncated("The snapshot ends within an entry's length.")
    if value > LARGEST:
        raise _nonsense()
    return value


def _field(message: bytes, wanted: int) -> bytes:
    """Return a field of bytes, empty if it is not there."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        start, place = _extent(message, tag & 7, place)
        if tag >> 3 == wanted and tag & 7 == _BYTES:
            return message[start:place]
    return b""


def _extent(message: bytes, kind: int, place: int) -> tuple[int, int]:
    """Return where a field's content begins and ends."""
    if kind == _VARINT:
        return place, _varint(message, place)[1]
    length = {_FIXED_64: 8, _FIXED_32: 4}.get(kind)
    if length is None:
        if kind != _BYTES:
            raise _nonsense()
        length, place = _varint(message, place)
    if place + length > len(message):
        raise _nonsense()
    return place, place + length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise _nonsense()


def _nonsense() -> Malformed:
    return Malformed("The snapshot's state is not made of entries.")


# -- Checking a snapshot offline: gzip to its end, the members, both sums, the seal record, the state
#
# The layout is that of HashiCorp Vault and OpenBao (``physical/raft/snapshot/archive.go``): a
# gzipped tar of ``meta.json``, ``state.bin``, ``SHA256SUMS`` and ``SHA256SUMS.sealed``. Servers answer
# 200 and then break off, so nothing is taken for a snapshot before all of it was seen. What no
# check of ours can say is whether the unseal keys at hand open it.


META, STATE, SUMS, SEALED = "meta.json", "state.bin", "SHA256SUMS", "SHA256SUMS.sealed"
SMALL = 64 * 1024
"""Bytes of every member but the state."""
BLOCK = 1 << 16
_SUM = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9._-]+)")


class _Meta(Struct, frozen=True, rename="pascal"):
    version: int
    index: int
    term: int
    size: int


prepare(_Meta)
_META = msgspec.json.Decoder(_Meta)


class SnapshotFacts(Struct, frozen=True, kw_only=True):
    """What a whole snapshot says of itself: the Raft log's index and term, and its entries."""

    index: int
    term: int
    state_bytes: int
    state: SnapshotState


def check_archive(stream: BinaryIO) -> SnapshotFacts:
    """Read a snapshot to its end and check everything that can be checked without a key.

    Args:
        stream: has ``read(n)``; memory is bounded by one entry of the state.

    Raises:
        Truncated: it ends early.
        Tampered: a checksum is wrong.
        Malformed: it is no snapshot, lacks a member, has one too many, or is not sealed.
    """
    try:
        with gzip.GzipFile(fileobj=stream, mode="rb") as content:
            if not content.peek(1):
                raise EOFError
            members = _members(cast("BinaryIO", content))
            _refuse_more(cast("BinaryIO", content))
    except EOFError:
        raise Truncated("The snapshot ends early.", hint=_AGAIN) from None
    except (gzip.BadGzipFile, zlib.error):
        raise Tampered("The snapshot's compressed bytes are damaged.", hint=_AGAIN) from None
    except tarfile.TarError:
        raise Malformed("The snapshot is no archive of a server's state.", hint=_AGAIN) from None
    return members.facts()


class _ArchiveMembers:
    """What was read of each member."""

    def __init__(self) -> None:
        self.small: dict[str, bytes] = {}
        self.sums: dict[str, str] = {}
        self.state: SnapshotState | None = None
        self.state_bytes = 0

    def take(self, name: str, size: int, content: BinaryIO) -> None:
        if name not in (META, STATE, SUMS, SEALED) or name in self.sums:
            raise Malformed("The snapshot has a member too many.", hint=_AGAIN)
        hashing = _Hashing(content)
        if name == STATE:
            self.state, self.state_bytes = scan(cast("BinaryIO", io.BufferedReader(hashing, BLOCK))), size
        elif size > SMALL:
            raise Malformed(f"The snapshot's {name} is far too large.", hint=_AGAIN)
        else:
            self.small[name] = hashing.readall()
        self.sums[name] = hashing.hexdigest

    def facts(self) -> SnapshotFacts:
        missing = {META, STATE, SUMS, SEALED} - self.sums.keys()
        if missing or self.state is None:
            raise Malformed(f"The snapshot lacks {', '.join(sorted(missing))}.", hint=_AGAIN)
        if not self.small[SEALED].strip():
            raise Malformed("The snapshot's sums are not sealed: its server broke off.", hint=_AGAIN)
        if _listed(self.small[SUMS]) != {name: self.sums[name] for name in (META, STATE)}:
            raise Tampered("The snapshot's checksums do not fit its content.", hint=_AGAIN)
        meta = _meta(self.small[META])
        if meta.size != self.state_bytes:
            raise Malformed("The snapshot's state is not as long as it says.", hint=_AGAIN)
        return SnapshotFacts(index=meta.index, term=meta.term, state_bytes=self.state_bytes, state=self.state)


class _Hashing(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(len(buffer))
        self._digest.update(piece)
        buffer[: len(piece)] = piece
        return len(piece)

    @property
    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _members(content: BinaryIO) -> _ArchiveMembers:
    members = _ArchiveMembers()
    with tarfile.open(fileobj=content, mode="r|") as archive:
        for member in archive:
            opened = archive.extractfile(member) if member.isreg() else None
            if opened is None:
                raise Malformed("The snapshot has a member that is no file.", hint=_AGAIN)
            members.take(member.name, member.size, cast("BinaryIO", opened))
    return members


def _refuse_more(content: BinaryIO) -> None:
    """Read on to the end, where the compressed bytes' own sum is; an archive ends with zeros."""
    while block := content.read(BLOCK):
        if block.strip(b"\0"):
            raise Malformed("Something follows the snapshot's archive.", hint=_AGAIN)


def _listed(sums: bytes) -> dict[str, str]:
    found = [_SUM.fullmatch(line) for line in sums.decode("ascii", "replace").splitlines()]
    return {match[2]: match[1] for match in found if match}


def _meta(content: bytes) -> _Meta:
    try:
        return _META.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("The snapshot's meta.json is not JSON.", hint=_AGAIN) from None


_AGAIN = "Do not restore it. Take another snapshot, or another backup's; look into the server's log."


# -- Chunks read as one stream, and summed up on the way ----------------------------------------


class Chunked(io.RawIOBase):
    """What comes in chunks, for a reader that asks for so many bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._ahead = memoryview(b"")
        self._digest = hashlib.sha256()
        self.size = 0

    def stream(self) -> BinaryIO:
        """Return this as a file to read from."""
        return cast("BinaryIO", io.BufferedReader(self))

    @property
    def sha256(self) -> str:
        """Of everything that went by, in hex."""
        return self._digest.hexdigest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Give the next bytes; none at the end."""
        if not self._ahead:
            self._ahead = memoryview(next(self._chunks, b""))
            self._went_by(self._ahead)
        count = min(len(buffer), len(self._ahead))
        buffer[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count

    def _went_by(self, chunk: memoryview) -> None:
        self._digest.update(chunk)
        self.size += len(chunk)
