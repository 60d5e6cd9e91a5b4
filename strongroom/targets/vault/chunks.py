"""An object in a mount: chunks under a second lock, and the head that makes it visible."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.errors import TargetError
from strongroom.model import prepare
from strongroom.targets.errors import TargetGarbled
from strongroom.targets.vault.entries import Entries, Fields, in_order
from strongroom.vault.answers import TOO_OLD, VaultRefused

# -- The head of an object: the one entry that makes it visible, and says where its chunks lie ---
#
# ::
#
#     PREFIX/objects/NAME                      the head, written last
#     PREFIX/chunks/NAME/~ATTEMPT/00000 …      the chunks, one entry each
#
# Each put has an attempt of its own, so two never share a chunk, and whoever comes second
# removes its own and nobody else's. ``~`` is in no object's name.


FORMAT = "strongroom-object-1"
OBJECTS = "objects/"
CHUNKS = "chunks/"
ATTEMPT = "~"
DIGEST = 32
MOST_CHUNKS = 8_000
"""Their digests have to fit into the head, and that into the smallest entry (512 KiB)."""

Digits = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,17})$")]
Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class ForeignEntry(TargetError):
    """Where a head should be lies something else."""


class ChunkedHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes in bytes as decimal digits: the server keeps numbers as floats.

    ``digests`` are the SHA-256 of each chunk, one after the other, in base64. ``transit`` is
    the key that the chunks are encrypted with besides, ``MOUNT/NAME``, or nothing.
    """

    format: str = FORMAT
    size: Digits
    sha256: Hex
    chunk_bytes: Digits
    attempt: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")]
    digests: str
    transit: str = ""

    @property
    def total(self) -> int:
        """Return the object's size."""
        return int(self.size)

    def chunk_of(self, offset: int) -> int:
        """Return the number of the chunk that holds this byte."""
        return offset // int(self.chunk_bytes)


prepare(ChunkedHead)


def new_attempt() -> str:
    """Return the name of a put."""
    return secrets.token_hex(8)


def folder_of(name: str, attempt: str) -> str:
    """Return the folder of a put's chunks."""
    return f"{CHUNKS}{name}/{ATTEMPT}{attempt}/"


def chunk_path(name: str, attempt: str, number: int) -> str:
    """Return where a chunk lies."""
    return f"{folder_of(name, attempt)}{number:05}"


def split_folder(path: str) -> tuple[str, str, str]:
    """Take a chunk's path below ``chunks/`` apart: name, attempt, number; empty if it is none."""
    above, _, number = path.rpartition("/")
    name, _, attempt = above.rpartition("/")
    return (name, attempt[1:], number) if attempt.startswith(ATTEMPT) else ("", "", "")


def chunk_count(size: int, chunk_bytes: int) -> int:
    """Return how many chunks an object has; an empty one has one."""
    return max(1, -(-size // chunk_bytes))


def parse_head(fields: Fields, name: str) -> ChunkedHead:
    """Read a head strictly. Raises ForeignEntry if it is none."""
    try:
        head = msgspec.convert(fields, ChunkedHead)
        digests = base64.b64decode(head.digests, validate=True)
    except (msgspec.ValidationError, binascii.Error, ValueError):
        raise _not_ours(name) from None
    if head.format != FORMAT or not int(head.chunk_bytes):
        raise _not_ours(name)
    if len(digests) != DIGEST * chunk_count(head.total, int(head.chunk_bytes)):
        raise _not_ours(name)
    return head


def _not_ours(name: str) -> ForeignEntry:
    return ForeignEntry(
        f"the entry of {name} is not one that Strongroom wrote",
        hint="Somebody else writes into the target's mount. Look at who may, and at the entry.",
    )


# -- A second lock on each chunk: a transit key of the same server ------------------------------


MOUNT = "transit"


class _TransitSealed(Struct):
    ciphertext: str


class _SealedAnswer(Struct):
    data: _TransitSealed


class _Opened(Struct):
    plaintext: str


class _OpenedAnswer(Struct):
    data: _Opened


prepare(_SealedAnswer, _OpenedAnswer)
_SEALED = msgspec.json.Decoder(_SealedAnswer)
_OPENED = msgspec.json.Decoder(_OpenedAnswer)


class Transit:
    """Encrypts and decrypts with one key.

    No associated data goes with it, since a rewrap could not keep that; that a chunk lies in
    its place, its digest in the head shows.

    Args:
        key: ``MOUNT/NAME``, or ``NAME`` under ``transit``.
    """

    def __init__(self, key: str, entries: Entries) -> None:
        mount, _, name = key.strip("/").rpartition("/")
        self._mount = mount or MOUNT
        self._key = name
        self._entries = entries

    @property
    def key(self) -> str:
        """The key as a head names it."""
        return f"{self._mount}/{self._key}"

    def encrypt(self, piece: bytes, *, doing: str) -> str:
        """Return what the server makes of it, ``vault:vN:…``. Raises TargetError."""
        plain = base64.b64encode(piece).decode()
        with self._entries.explained(doing, writing=True):
            answer = self._entries.vault.transit.encrypt_data(self._key, plain, mount_point=self._mount)
            if not answer.found:
                raise self._refused(f"there is no transit mount '{self._mount}'")
            return str(answer.read(_SEALED).data.ciphertext)

    def decrypt(self, text: str, *, doing: str) -> bytes:
        """Return what was encrypted, or, if that was changed, the changed text as it lies.

        Raises :class:`~strongroom.errors.TargetError` if the key no longer opens that version.
        """
        with self._entries.explained(doing, writing=False):
            try:
                answer = self._entries.vault.transit.decrypt_data(self._key, text, mount_point=self._mount)
            except VaultRefused as refused:
                if refused.reason == TOO_OLD:
                    raise self._refused(f"the key '{self.key}' no longer opens chunks of this age") from None
                return text.encode()
            if not answer.found:
                raise self._refused(f"there is no transit mount '{self._mount}'")
            return base64.b64decode(answer.read(_OPENED).data.plaintext)

    def _refused(self, what: str) -> TargetError:
        return TargetError(f"{self._entries.titled}: {what}", hint=_KEY)


_KEY = (
    "The chunks are not damaged. Bring the transit key back, or lower its 'min_decryption_version'; "
    "read from another target meanwhile."
)


# -- The chunks of an object: written, read and destroyed, a few at once ------------------------


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
        # The SHA-256 of each chunk.
        whole = base64.b64decode(head.digests)
        digests = [whole[start : start + DIGEST] for start in range(0, len(whole), DIGEST)]
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
