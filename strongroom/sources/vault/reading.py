"""Reads secrets whole, as of one moment: many requests in flight, answers in order, memory bounded."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from strongroom.model import Media, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.sources.convention import understood
from strongroom.sources.errors import SourceChanged
from strongroom.sources.vault.records import (
    DATA,
    KEY,
    LARGEST,
    PLAIN,
    WORTH,
    Folder,
    KeyInfo,
    KeyVersion,
    Lister,
    Mount,
    MountConfig,
    VersionData,
    time_of,
)
from strongroom.sources.vault.secrets import secret_of, tags_in
from strongroom.vault.client import Vault

# -- Reads one secret whole: all versions, all metadata, as of one moment -----------------------
#
# A live version's data never changes, so a key's metadata and the data of each version it names are
# one state, provided that the data is of *these* versions: each answer carries the metadata of
# its version anew, and what was created at another time belongs to a key made again. The newest
# version is read last and without a number, so the answer also tells whether it still is the newest.
# Anything else than expected: the metadata is read anew, and everything with it.


TRIES = 5
_SLACK = timedelta(seconds=2)  # the server's clock reaches us in whole seconds, and a request late


class KeyChanged(Exception):
    """The key is not what its metadata said a moment ago."""


class KeyReader:
    """Reads keys of one mount."""

    def __init__(
        self, vault: Vault, mount: Mount, config: MountConfig | None, *, tag_metadata: frozenset[str]
    ) -> None:
        self._vault = vault
        self._mount = mount
        self._config = config
        self._tag_metadata = tag_metadata

    def read(self, name: str, path: str, known: tuple[KeyInfo, datetime] | None = None) -> Secret | None:
        """Return a secret, or ``None`` if there is none.

        Args:
            known: its metadata as a listing gave it, and the server's clock then; read if left out.

        Raises:
            SourceChanged: it was written again and again while we were reading.
        """
        if self._mount.version == 1:
            # Read from KV v1: one value, and nothing else known of it.
            answer = self._vault.get(self._mount.path, path, namespace=self._mount.namespace)
            if not answer.found:
                return None
            value = SecretBytes(bytes(answer.read(PLAIN).data))
            return secret_of(
                name, self._mount, None, KeyInfo(), (SecretVersion(number=1, value=value, media=Media.JSON),)
            )
        for _ in range(TRIES):
            found = known or self.info(path)
            known = None
            if found is None:
                return None
            try:
                return self._whole(name, path, *found)
            except KeyChanged:
                continue
        raise SourceChanged(f"secret '{name}' changed {TRIES} times while it was being read")

    def info(self, path: str) -> tuple[KeyInfo, datetime] | None:
        """Return a key's metadata, and the server's clock then."""
        answer = self._vault.get(self._mount.path, "metadata", path, namespace=self._mount.namespace)
        return (answer.read(KEY).data, answer.moment or datetime.now(UTC)) if answer.found else None

    def tags(self, path: str, info: KeyInfo | None) -> dict[str, str]:
        """Return a key's tags, which its metadata tells; it is read unless a listing gave it."""
        if self._mount.version == 1:
            return {}
        if info is None:
            found = self.info(path)
            info = found[0] if found else KeyInfo()
        rest = understood(info.custom_metadata or {}).rest
        return tags_in(rest, tag_metadata=self._tag_metadata)

    def _whole(self, name: str, path: str, info: KeyInfo, moment: datetime) -> Secret:
        numbers = sorted(info.versions)
        live = [number for number in numbers if not _is_gone(info.versions[number], moment)]
        # A version's data; ``None`` if it is past its deletion time by the server's clock.
        data = {
            number: self._checked(self._ask(path, number), info, number)
            for number in live
            if number != info.current_version
        }
        if live:
            answer = self._ask(path, None)
            said = answer.metadata.custom_metadata if answer else None
            if (said or {}) != (info.custom_metadata or {}):
                raise KeyChanged
            data[info.current_version] = self._checked(answer, info, info.current_version)
        versions = tuple(_version(number, info.versions[number], data.get(number)) for number in numbers)
        return secret_of(name, self._mount, self._config, info, versions, tag_metadata=self._tag_metadata)

    def _ask(self, path: str, number: int | None) -> VersionData | None:
        """Ask for a version. A deleted one is a 404 too, but one that has metadata."""
        answer = self._vault.get(
            self._mount.path, "data", path, namespace=self._mount.namespace, version=number
        )
        return answer.read(DATA).data

    def _checked(self, answer: VersionData | None, info: KeyInfo, number: int) -> bytes | None:
        if answer is None or answer.metadata.version != number or number not in info.versions:
            raise KeyChanged
        version_info, listed = answer.metadata, info.versions[number]
        if (version_info.created_time, version_info.deletion_time, version_info.destroyed) != (
            listed.created_time,
            listed.deletion_time,
            listed.destroyed,
        ):
            raise KeyChanged
        return answer.text


def _is_gone(version: KeyVersion, moment: datetime) -> bool:
    """Say whether asking for the data is useless. A deletion time may lie in the future, and which
    time it is the server says: our clock may be wrong."""
    return version.destroyed or bool(
        version.deletion_time and time_of(version.deletion_time) < moment - _SLACK
    )


def _version(number: int, listed: KeyVersion, data: bytes | None) -> SecretVersion:
    state = VersionState.LIVE
    if listed.destroyed:
        state = VersionState.DESTROYED
    elif data is None:
        state = VersionState.DELETED
    return SecretVersion(
        number=number,
        value=None if data is None else SecretBytes(data),
        media=Media.JSON,
        state=state,
        created_at=listed.created_time or None,
    )


# -- Metadata of whole folders in one request each, for those who read many keys of a folder ----


SHARE = 4
"""A folder is listed when at least one in so many of its keys is wanted: listing costs the server
about a fifth of a request for each key."""

_PACK = msgspec.msgpack.Encoder()
_UNPACK = msgspec.msgpack.Decoder(KeyInfo)


class WantedKey(Struct, frozen=True, gc=False):
    """A key to be read, and how many there are in its folder; 0 if nobody counted: then its folder is listed
    where several of it are wanted, as far as is worth it."""

    mount: Mount
    path: str
    beside: int

    @property
    def folder(self) -> tuple[str, str]:
        """The folder, in which mount."""
        return self.mount.name, self.path[: self.path.rfind("/") + 1]


class Details:
    """Lists each folder that is worth it once, and lets go of it with its last key.

    A folder's first key begins the listing of the folder after it too: else all threads would wait for each.

    Args:
        at_least: how many keys a folder has at the least, where nobody counted them and they were too many;
            what is learned is added. A folder of which the server tells nothing counts as endless.
    """

    def __init__(
        self, vault: Vault, wanted: Iterable[WantedKey | None], at_least: dict[tuple[str, str], float]
    ) -> None:
        self._vault = vault
        self._at_least = at_least
        self._left = Counter[tuple[str, str]]()
        first = dict[tuple[str, str], WantedKey]()
        for each in wanted:
            if each is not None and each.mount.version == 2:
                self._left[each.folder] += 1
                first.setdefault(each.folder, each)
        self._most = {folder: min(LARGEST, SHARE * left) for folder, left in self._left.items()}
        worth = [key for key in first.values() if self._is_worth(key)]
        self._next = {key.folder: after for key, after in zip(worth, [*worth[1:], None], strict=False)}
        self._held: dict[tuple[str, str], _FolderMetadata] = {}
        self._locks = {folder: threading.Lock() for folder in self._next}

    def _is_worth(self, key: WantedKey) -> bool:
        folder, many = key.folder, key.beside
        if many:
            return 1 < many <= self._most[folder]
        return self._left[folder] >= WORTH and self._at_least.get(folder, 0) < self._most[folder]

    def known(self, wanted: WantedKey | None) -> tuple[KeyInfo, datetime] | None:
        """Return a key's metadata and the server's clock when it was listed, if it was. Each
        key is asked for once."""
        if wanted is None or wanted.folder not in self._next:
            return None
        folder = wanted.folder
        with self._locks[folder]:
            if (after := self._next[folder]) is not None:
                self._next[folder] = None
                self._vault.threads.submit(self._list, after)
            if folder not in self._held:
                self._held[folder] = self._listed(wanted)
            folder_metadata = self._held[folder]
            self._left[folder] -= 1
            if not self._left[folder]:
                self._held[folder] = _NOTHING
        packed = folder_metadata.info.pop(wanted.path[len(folder[1]) :], None)
        return None if packed is None else (_UNPACK.decode(packed), folder_metadata.moment)

    def _list(self, wanted: WantedKey) -> None:
        """List a folder before its keys are asked for. What goes wrong shows again when they are."""
        with self._locks[wanted.folder]:
            if wanted.folder not in self._held:
                self._held[wanted.folder] = self._listed(wanted)

    def _listed(self, wanted: WantedKey) -> _FolderMetadata:
        """List a folder; one that nobody counted as far as is worth it."""
        most = LARGEST if wanted.beside else self._most[wanted.folder]
        pages = Lister(self._vault, wanted.mount, detailed=True).pages(wanted.folder[1], most)
        folder_metadata, keys = _held(pages, most)
        if not wanted.beside and (not keys or keys >= most):
            self._at_least[wanted.folder] = keys or math.inf
        return folder_metadata


class _FolderMetadata(Struct, frozen=True, gc=False):
    """A folder's metadata, each key's packed: as records they would take three times the memory."""

    info: dict[str, bytes]
    moment: datetime


_NOTHING = _FolderMetadata({}, datetime.min.replace(tzinfo=UTC))


def _held(pages: Iterator[Folder], most: int) -> tuple[_FolderMetadata, int]:
    """Return what is told of a folder's keys, of so many about, and how many these are."""
    moment = None
    packed: dict[str, bytes] = {}
    keys = 0
    for page in pages:
        moment = moment or page.moment
        packed |= {key: _PACK.encode(info) for key, info in page.info.items()}
        keys += len(page.keys)
        if keys >= most:
            break
    return (_FolderMetadata(packed, moment) if moment else _NOTHING), keys


# -- Many requests in flight, answers in the order that was asked for, memory bounded -----------


A = TypeVar("A")
B = TypeVar("B")
_Done = tuple[list[B], int]

SLICE = 8
"""How many items one thread takes at once: handing each over by itself costs a tenth of a request."""
WAITING_BYTES = 8 << 20
"""How much may lie finished and unasked for before no more is begun."""


def ordered(
    threads: ThreadPoolExecutor,
    work: Callable[[A], B],
    items: Sequence[A],
    *,
    in_flight: int,
    weigh: Callable[[B], int],
    together: int = SLICE,
) -> Iterator[B]:
    """Yield ``work(item)`` for each of ``items``, in order.

    What is finished and waits for its turn is at most :data:`WAITING_BYTES`, and what is in flight.

    Args:
        together: how many items one thread takes at once, at most; 1 where they are large.
    """
    flight = _Flight(threads, work, items, in_flight=in_flight, weigh=weigh, together=together)
    try:
        flight.fill()
        while flight.running:
            yield from flight.running.popleft().result()[0]
            flight.fill()
    finally:
        for future in flight.running:
            future.cancel()


class _Flight(Generic[A, B]):
    """What is under way: slices of items, each in a thread."""

    def __init__(
        self,
        threads: ThreadPoolExecutor,
        work: Callable[[A], B],
        items: Sequence[A],
        *,
        in_flight: int,
        weigh: Callable[[B], int],
        together: int,
    ) -> None:
        self._threads = threads
        self._work = work
        self._items = items
        self._weigh = weigh
        self._most = 2 * in_flight
        self._step = max(1, min(together, len(items) // self._most))
        self._starts = iter(range(0, len(items), self._step))
        self.running: deque[Future[_Done[B]]] = deque()

    def fill(self) -> None:
        """Begin as many as may be; at least one, if there are any left and none is under way."""
        while not self.running or (len(self.running) < self._most and self._waiting() < WAITING_BYTES):
            start = next(self._starts, None)
            if start is None:
                return
            self.running.append(self._threads.submit(self._run, start))

    def _run(self, start: int) -> _Done[B]:
        found = [self._work(item) for item in self._items[start : start + self._step]]
        return found, sum(map(self._weigh, found))

    def _waiting(self) -> int:
        done = (future for future in self.running if future.done() and not future.cancelled())
        return sum(future.result()[1] for future in done if not future.exception())


# -- Estimates how large secrets are that nobody has read yet -----------------------------------
#
# The server tells no size, and a plan needs one: containers are cut by it. So some secrets are
# read while listing, the first ones and then one in many, and the others are taken to be as large
# as those were. Pieces are cut by hash, so that large and small ones mix.


FIRST = 32
EVERY = 64
UNKNOWN = 1_024
"""Bytes of a secret where none could be read."""
_BESIDE = 256  # bytes of a secret's metadata, about


class Sizes:
    """The sizes of one mount's secrets."""

    def __init__(self, threads: ThreadPoolExecutor, *, in_flight: int) -> None:
        self._threads = threads
        self._in_flight = in_flight
        self._seen = self._sampled = self._bytes = 0

    def of(self, items: Sequence[str], read: Callable[[str], Secret | None]) -> list[int]:
        """Return a size for each, in order. ``read`` is called for some of them, in threads."""
        places = [at for at in range(len(items)) if self._is_sampled(self._seen + at)]
        secrets = ordered(
            self._threads,
            read,
            [items[at] for at in places],
            in_flight=self._in_flight,
            weigh=size_of,
        )
        exact = {at: size_of(secret) for at, secret in zip(places, secrets, strict=True) if secret}
        self._seen += len(items)
        self._sampled += len(exact)
        self._bytes += sum(exact.values())
        mean = self._bytes // self._sampled if self._sampled else UNKNOWN
        return [exact.get(at, mean) for at in range(len(items))]

    def _is_sampled(self, number: int) -> bool:
        return number < FIRST or number % EVERY == 0


def size_of(secret: Secret | None) -> int:
    """Return about how many bytes a secret takes."""
    if secret is None:
        return 0
    values = sum(len(version.value) for version in secret.versions if version.value is not None)
    return values + _BESIDE + len(secret.name)
