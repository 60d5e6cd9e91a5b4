"""Objects as entries of a KV mount: heads and chunks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.errors import TargetError
from strongroom.model import prepare
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.targets import NAME_LIMIT
from strongroom.targets.errors import TargetGarbled, TargetUnavailable
from strongroom.vault import answers
from strongroom.vault.answers import (
    NO_SPACE,
    TOO_LARGE,
    TOO_OLD,
    Ambiguous,
    Denied,
    LoginRefused,
    NotVault,
    ServerAnswer,
    Unconfirmed,
    VaultError,
    VaultRefused,
    VaultSealed,
)
from strongroom.vault.client import Vault

# -- Entries of a KV version 2 mount: made once, read, listed, destroyed, a few at once; never overwritten


# -- What a Vault server refuses, as errors of a target -----------------------------------------
#
# The server's own words are not repeated: they may quote what it was sent.


def typed(error: VaultError, *, titled: str, doing: str, writing: bool) -> TargetError:
    """Return the error of ours that says what happened and what to do next."""
    start = f"{titled} could not {doing}: {error.message}"
    if error.reason == TOO_LARGE or error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TargetError(f"{titled} could not {doing}: the entry is too large for it", hint=_CHUNK)
    if error.reason == NO_SPACE or error.status == HTTPStatus.INSUFFICIENT_STORAGE:
        return TargetFull(f"{titled} could not {doing}: its storage has no room left")
    if isinstance(error, Denied):
        return (TargetReadOnly if writing else TargetError)(f"{start} (status 403)", hint=_RIGHTS)
    if isinstance(error, LoginRefused | NotVault):
        return TargetError(start, hint=error.hint)
    if error.transient or isinstance(error, Unconfirmed):
        hint = _ENTRIES_SEALED if isinstance(error, VaultSealed) else error.hint
        said = error.headers.get("retry-after", "")
        return TargetUnavailable(start, hint=hint, retry_after=float(said) if said.isdecimal() else None)
    return TargetError(start, hint=error.hint)


_CHUNK = (
    "Nothing half-written was left. Lower 'chunk_bytes' of this target: the server's storage limits one "
    "entry (1 MiB on Raft, 512 KiB on Consul), and text takes a third more than the bytes."
)
_RIGHTS = "Compare the token's policies with what 'strongroom cluster rules vault' prints."
_ENTRIES_SEALED = "The backups there are safe. Unseal the server, then run 'strongroom runs retry RUN'."


# -- Entries of a KV version 2 mount: made once, read, listed, destroyed. Nothing is ever overwritten


Fields = Mapping[str, str]


class _Written(Struct):
    version: int = 0
    deletion_time: str = ""


class _WrittenAnswer(Struct):
    data: _Written | None = None


class _KvEntry(Struct):
    data: dict[str, str] | None = None


class _HeldAnswer(Struct):
    data: _KvEntry


class _EntryNames(Struct):
    keys: list[str] = []


class _EntryNamesAnswer(Struct):
    data: _EntryNames


prepare(_WrittenAnswer, _HeldAnswer, _EntryNamesAnswer)
_WRITTEN = msgspec.json.Decoder(_WrittenAnswer)
_HELD = msgspec.json.Decoder(_HeldAnswer)
_KEYS = msgspec.json.Decoder(_EntryNamesAnswer)


class Occupied(TargetError):
    """An entry is there, and was not written over."""


class Entries:
    """What lies below one folder of a mount. Paths are relative to that folder.

    Errors are :class:`~strongroom.errors.TargetError`.
    """

    def __init__(self, vault: Vault, *, mount: str, folder: str, titled: str) -> None:
        self.vault = vault
        self.titled = titled
        self.mount = mount
        self.folder = answers.folder(folder)

    def create(self, path: str, fields: Fields, *, doing: str) -> bool:
        """Write an entry unless there is one; say whether what lies there now is this one.

        Check-and-set makes it safe to ask again: after a reply that was lost the server says
        that there is an entry, and then the two are compared.
        """
        body = {"data": fields, "options": {"cas": 0}}
        found: Fields | None = None
        failure: VaultError | None = None

        def happened() -> bool:
            nonlocal found
            found = self.get(path, doing=doing)
            return found is not None

        try:
            answer = self.vault.post(self.mount, "data", self.folder + path, body=body, happened=happened)
        except (Ambiguous, VaultRefused, Denied) as error:
            failure = error
            happened()
        except VaultError as error:
            raise typed(error, titled=self.titled, doing=doing, writing=True) from None
        else:
            if found is None:
                self._check_written(answer, path)
                return True
        if found is not None:
            return found == fields
        assert failure is not None  # else there was an answer, or an entry
        if self._was_deleted(path, doing=doing):
            raise TargetError(f"{self.titled} could not {doing}: a deleted entry is there", hint=_IN_THE_WAY)
        raise typed(failure, titled=self.titled, doing=doing, writing=True)

    def get(self, path: str, *, doing: str) -> Fields | None:
        """Return an entry, or ``None`` if there is none, or if it was deleted or destroyed."""
        with self.explained(doing, writing=False):
            answer = self.vault.get(self.mount, "data", self.folder + path)
            return answer.read(_HELD).data.data if answer.found else None

    def keys(self, folder: str, *, doing: str) -> list[str]:
        """Return what lies directly in a folder, ascending; a folder's name ends with a slash."""
        with self.explained(doing, writing=False):
            answer = self.vault.list(self.mount, "metadata", self.folder + folder)
            return sorted(set(answer.read(_KEYS).data.keys)) if answer.found else []

    def walk(self, root: str, prefix: str, *, doing: str) -> Iterator[str]:
        """Yield the paths below ``root`` that start with ``prefix``, ascending, without ``root``.

        A folder sorts with its slash, which is where the names in it belong.
        """
        yield from self._walk(root, prefix[: prefix.rfind("/") + 1], prefix, doing)

    def destroy(self, path: str, *, doing: str) -> None:
        """Remove an entry with all its versions; a missing one is fine."""
        with self.explained(doing, writing=True):
            self.vault.delete(self.mount, "metadata", self.folder + path)

    def overwrite(self, path: str, *, doing: str) -> None:
        """Write what an entry holds over it, without check-and-set, for a probe of its own object.

        Raises Occupied, as it should.
        """
        fields = self.get(path, doing=doing) or {}
        try:
            self.vault.post(self.mount, "data", self.folder + path, body={"data": fields})
        except (Denied, VaultRefused):
            raise Occupied(f"{self.titled} lets nothing be written over") from None
        except VaultError as error:
            raise typed(error, titled=self.titled, doing=doing, writing=True) from None

    @contextmanager
    def explained(self, doing: str, *, writing: bool) -> Iterator[None]:
        """Make errors of a target of what the server refuses."""
        try:
            yield
        except VaultError as error:
            raise typed(error, titled=self.titled, doing=doing, writing=writing) from None

    def _walk(self, root: str, folder: str, prefix: str, doing: str) -> Iterator[str]:
        for key in self.keys(root + folder, doing=doing):
            path = folder + key
            if not path.startswith(prefix) or len(path) > 2 * NAME_LIMIT:  # no end: a server that lies
                continue
            if key.endswith("/"):
                yield from self._walk(root, path, prefix, doing)
            else:
                yield path

    def _was_deleted(self, path: str, *, doing: str) -> bool:
        with self.explained(doing, writing=False):
            answer = self.vault.get(self.mount, "data", self.folder + path)
            return not answer.found and b'"metadata":{' in answer.body

    def _check_written(self, answer: ServerAnswer, path: str) -> None:
        """Refuse a mount that would overwrite, or forget by itself."""
        written = answer.read(_WRITTEN).data if answer.body else None
        if written is None or written.version != 1:
            with suppress(VaultError):  # in a mount of version 1 it lies there under this very path
                self.vault.delete(self.mount, "data", self.folder + path)
            raise TargetError(f"{self.titled} does not keep its entries apart by version", hint=_VERSION_2)
        if written.deletion_time:
            self.destroy(path, doing="take back what it would forget")
            raise TargetError(f"{self.titled} deletes entries after a while", hint=_FOREVER)


_VERSION_2 = "No backup was made there. The mount has to be KV version 2, and its paths nobody else's."
_FOREVER = (
    "Nothing was left there. Set 'delete_version_after' of the mount to 0s: backups are kept by policy."
)
_IN_THE_WAY = (
    "Somebody deleted it by hand, and its history is in the way. Remove that with 'kv metadata delete', "
    "then run 'strongroom runs retry RUN'."
)


# -- A few requests in flight, answers in order, memory bounded ---------------------------------


A = TypeVar("A")
B = TypeVar("B")


def in_order(
    threads: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A], *, ahead: int
) -> Iterator[B]:
    """Yield ``work(item)`` for each of ``items``, in order, taking ``ahead`` at once at most.

    When it ends, however it ends, nothing is under way any more: what comes after may remove what
    was written.
    """
    running: deque[Future[B]] = deque()
    try:
        for item in items:
            running.append(threads.submit(work, item))
            if len(running) >= ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            if not future.cancel():
                future.exception()


# -- An object in a mount: chunks under a second lock, and the head that makes it visible -------


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
