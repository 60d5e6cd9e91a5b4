"""The chunks of an object: written, read and destroyed, a few at once."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.targets.errors import TargetGarbled
from strongroom.targets.vault.entries import Entries
from strongroom.targets.vault.heads import ChunkedHead, chunk_count, chunk_path, folder_of
from strongroom.targets.vault.inflight import in_order
from strongroom.targets.vault.transit import Transit

AHEAD = 4
"""Chunks in flight of one put or read: each is held about five times while it is sent."""
SMALL_AHEAD = 16
"""Requests in flight that carry next to nothing."""
_FIELD = "chunk"


class Chunks:
    """Reads and writes the entries below ``chunks/``.

    Args:
        transit: what new chunks are encrypted with besides; old ones as their head says.
    """

    def __init__(self, entries: Entries, *, transit: Transit | None) -> None:
        self._entries = entries
        self._transit = transit

    def write(self, name: str, attempt: str, pieces: Iterable[bytes]) -> bytes:
        """Write all of them; return their digests, one after the other."""

        def one(numbered: tuple[int, bytes]) -> bytes:
            number, piece = numbered
            return self._write(name, chunk_path(name, attempt, number), piece)

        return b"".join(in_order(self._entries.vault.threads, one, enumerate(pieces), ahead=AHEAD))

    def read(self, name: str, head: ChunkedHead, numbers: Iterable[int]) -> Iterator[bytes]:
        """Yield these chunks, in order; each one's SHA-256 is compared."""
        digests = head.all_digests()
        return in_order(
            self._entries.vault.threads,
            lambda number: self._read(name, head, number, digests),
            numbers,
            ahead=AHEAD,
        )

    def are_there(self, name: str, head: ChunkedHead) -> bool:
        """Say whether all of an object's chunks are there, by one listing."""
        keys = self._entries.keys(folder_of(name, head.attempt), doing=f"look at {name}")
        return len(keys) == chunk_count(head.total, int(head.chunk_bytes))

    def destroy(self, name: str, attempt: str) -> None:
        """Destroy all chunks of one put."""
        doing, folder = f"delete {name}", folder_of(name, attempt)
        paths = [folder + key for key in self._entries.keys(folder, doing=doing)]
        destroyed = in_order(
            self._entries.vault.threads,
            lambda path: self._entries.destroy(path, doing=doing),
            paths,
            ahead=SMALL_AHEAD,
        )
        deque(destroyed, maxlen=0)

    def _write(self, name: str, path: str, piece: bytes) -> bytes:
        doing = f"write {name}"
        text = self._transit.encrypt(piece, doing=doing) if self._transit else in_base64(piece)
        if not self._entries.create(path, {_FIELD: text}, doing=doing):
            raise VerificationFailed(f"{self._entries.titled} holds another chunk of {name} than was written")
        return hashlib.sha256(piece).digest()

    def _read(self, name: str, head: ChunkedHead, number: int, digests: Sequence[bytes]) -> bytes:
        """Return a chunk. One that lies damaged is given as it lies, for a repair to judge by the
        digest that it trusts, which is not the one in the head."""
        pieces = []
        for _ in range(2):
            piece = self._as_it_lies(name, head, number)
            if hashlib.sha256(piece).digest() == digests[number]:
                return piece
            pieces.append(piece)
        if pieces[0] != pieces[1]:
            raise TargetGarbled(f"{self._entries.titled} gave other bytes of {name} each time it was asked")
        return pieces[0]

    def _as_it_lies(self, name: str, head: ChunkedHead, number: int) -> bytes:
        doing = f"read {name}"
        fields = self._entries.get(chunk_path(name, head.attempt, number), doing=doing)
        if fields is None:
            raise MissingPiece(f"{self._entries.titled} lacks chunk {number} of {name}")
        text = fields.get(_FIELD, "")
        if head.transit:
            return Transit(head.transit, self._entries).decrypt(text, doing=doing)
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return text.encode()


def in_base64(content: bytes) -> str:
    """Return bytes as text."""
    return base64.b64encode(content).decode("ascii")
