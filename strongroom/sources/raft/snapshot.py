"""Checking a snapshot offline: gzip to its end, the members, both sums, the seal record, the state.

The layout is that of HashiCorp Vault and OpenBao (``physical/raft/snapshot/archive.go``): a
gzipped tar of ``meta.json``, ``state.bin``, ``SHA256SUMS`` and ``SHA256SUMS.sealed``. Servers answer
200 and then break off, so nothing is taken for a snapshot before all of it was seen. What no
check of ours can say is whether the unseal keys at hand open it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zlib
from typing import Any, BinaryIO, cast

import msgspec
from msgspec import Struct

from strongroom.container.errors import Malformed, Tampered, Truncated
from strongroom.model import prepare
from strongroom.sources.raft.state import SnapshotState, scan

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
