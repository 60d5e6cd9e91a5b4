"""What the server says of mounts and keys, as far as we look at it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from strongroom.errors import SourceError
from strongroom.model import prepare
from strongroom.sources.errors import SourceClosed, SourceUnavailable
from strongroom.vault import answers
from strongroom.vault.answers import Denied, LoginRefused, NotVault, ServerAnswer, VaultError, VaultRefused
from strongroom.vault.client import Vault


class KeyVersion(Struct, frozen=True, gc=False, omit_defaults=True):
    """One version in a key's metadata. ``deletion_time`` may lie in the future."""

    created_time: str = ""
    deletion_time: str = ""
    destroyed: bool = False


class KeyInfo(Struct, frozen=True, omit_defaults=True):
    """The metadata of a KV v2 key."""

    versions: dict[int, KeyVersion] = {}
    current_version: int = 0
    oldest_version: int = 0
    max_versions: int = 0
    cas_required: bool = False
    metadata_cas_required: bool = False
    delete_version_after: str = "0s"
    custom_metadata: dict[str, str] | None = None
    created_time: str = ""
    updated_time: str = ""
    current_metadata_version: int = 0


class MountConfig(Struct, frozen=True, omit_defaults=True):
    """The ``config`` of a KV v2 mount."""

    max_versions: int = 0
    cas_required: bool = False
    metadata_cas_required: bool = False
    delete_version_after: str = "0s"


class VersionInfo(Struct, frozen=True, gc=False):
    """The metadata that comes with a version's data."""

    version: int
    created_time: str = ""
    deletion_time: str = ""
    destroyed: bool = False
    custom_metadata: dict[str, str] | None = None


class VersionData(Struct, frozen=True, gc=False):
    """A version's data, as the very text that the server sent."""

    metadata: VersionInfo
    data: Raw = Raw(b"null")

    @property
    def text(self) -> bytes | None:
        """The data; ``None`` if the version has none any more."""
        raw = bytes(self.data)
        return None if raw == b"null" else raw


class MountInfo(Struct, frozen=True):
    """A mount as ``sys/mounts`` shows it."""

    type: str
    description: str = ""
    options: dict[str, str] | None = None
    config: dict[str, Any] = {}
    local: bool = False
    seal_wrap: bool = False
    external_entropy_access: bool = False


class _KeyAnswer(Struct):
    data: KeyInfo


class _DataAnswer(Struct):
    data: VersionData | None = None


class _WroteAnswer(Struct):
    data: VersionInfo | None = None


class _PlainAnswer(Struct):
    data: Raw


class KvListing(Struct, frozen=True):
    """A listing."""

    keys: list[str] = []
    key_info: dict[str, KeyInfo] = {}


class _ListingAnswer(Struct):
    data: KvListing | None = None


class _KvConfigAnswer(Struct):
    data: MountConfig


class _MountsAnswer(Struct):
    data: dict[str, MountInfo]


class _SeenMount(Struct):
    secret: dict[str, MountInfo] = {}
    auth: dict[str, MountInfo] = {}


class _SeenAnswer(Struct):
    data: _SeenMount


prepare(
    _KeyAnswer,
    _DataAnswer,
    _WroteAnswer,
    _PlainAnswer,
    _ListingAnswer,
    _KvConfigAnswer,
    _MountsAnswer,
    _SeenAnswer,
)

KEY = msgspec.json.Decoder(_KeyAnswer)
DATA = msgspec.json.Decoder(_DataAnswer)
WROTE = msgspec.json.Decoder(_WroteAnswer)
PLAIN = msgspec.json.Decoder(_PlainAnswer)
KEYS = msgspec.json.Decoder(_ListingAnswer)
CONFIG = msgspec.json.Decoder(_KvConfigAnswer)
MOUNTS = msgspec.json.Decoder(_MountsAnswer)
SEEN = msgspec.json.Decoder(_SeenAnswer)


class Mount(Struct, frozen=True):
    """A KV mount: namespace and path end with a slash, or are empty for the root."""

    namespace: str
    path: str
    version: int
    info: MountInfo

    @property
    def name(self) -> str:
        """What its secrets' names begin with."""
        return self.namespace + self.path


def kv_mount(namespace: str, path: str, info: MountInfo) -> Mount | None:
    """Return the mount if it is one of KV. The old name of version 1 is ``generic``."""
    if info.type not in ("kv", "generic"):
        return None
    version = 2 if (info.options or {}).get("version") == "2" else 1
    return Mount(namespace, answers.folder(path), version, info)


# -- Times as the server writes them ------------------------------------------------------------


_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?)(ms|us|µs|ns|h|m|s)")
_NANOSECONDS = re.compile(r"(\.\d{6})\d+")


def time_of(text: str) -> datetime:
    """Parse RFC 3339 with nanoseconds, which Python drops. Raises ValueError."""
    found = datetime.fromisoformat(_NANOSECONDS.sub(r"\1", text))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def seconds_of(duration: str) -> float:
    """Parse a duration as Go writes it, ``1h30m0s``; negative is "switched off"."""
    sign = -1.0 if duration.startswith("-") else 1.0
    return sign * sum(float(number) * _UNIT[unit] for number, unit in _PART.findall(duration))


# -- Makes source errors of what went wrong between here and the server -------------------------


GO_ON = (
    "Whatever else was restored stays. Put this right, or leave it out with --exclude; then repeat the "
    "command: a restore goes on where it stopped."
)
"""What to do about a secret that could not be restored."""
_READING = (
    "Compare the token's policies with 'strongroom cluster rules vault', or leave out what it may not "
    "see: 'exclude_mounts' takes mounts and whole namespaces."
)
_WRITING = "The token's policies lack something of 'strongroom cluster rules vault --role recover'. "


@contextmanager
def explained(source: str, doing: str, *, writing: bool = False, whole: bool = False) -> Iterator[None]:
    """Say what failed while doing what. The server's own words are left out: they may quote values.

    Args:
        writing: whether a restore is at work, which has another way to go on than a backup.
        whole: whether nothing else can be done where this is denied.
    """
    try:
        yield
    except Denied as denied:
        kind = SourceClosed if whole else SourceError
        raise kind(
            f"source '{source}': no right to {doing}: {denied.message} (status 403)",
            hint=_WRITING + GO_ON if writing else _READING,
        ) from None
    except VaultError as error:
        kind = SourceUnavailable if error.transient else SourceError
        hint = GO_ON if writing else error.hint
        if isinstance(error, LoginRefused | NotVault):
            kind = SourceClosed
            hint = f"{error.hint} {GO_ON}" if writing and error.hint else hint
        raise kind(f"source '{source}' could not {doing}: {error.message}", hint=hint) from None


# -- Walks a mount's folders, many at once, without holding the tree ----------------------------
#
# ``foo`` and ``foo/`` may both be there: one is a secret, the other a folder, and nothing here
# makes a tree of them.


PAGE = 2_000
"""Keys of a page, 1 MB. The server decrypts and sorts a whole folder for each, so they are not smaller; and
many are in flight at once, so they are not larger."""
LARGEST = 20_000
"""Keys of a folder whose metadata is listed at all."""
DEEPEST = 256
"""Folders in folders: more is a loop, or somebody's joke."""


class ListedKey(Struct, frozen=True, gc=False):
    """A key, and how many there are in its folder. ``info`` is there if the server gave it along."""

    path: str
    beside: int
    info: KeyInfo | None = None


class Folder(Struct, gc=False):
    """The keys of a folder, and metadata as of one moment of the server's clock, if it gave any."""

    keys: list[str]
    info: dict[str, KeyInfo]
    moment: datetime


class Lister:
    """Lists one mount.

    Args:
        detailed: whether metadata is wanted too. OpenBao gives that of a whole folder in one answer,
            if it is allowed; of a folder larger than :data:`LARGEST` it would take too much memory.
    """

    def __init__(self, vault: Vault, mount: Mount, *, detailed: bool) -> None:
        self._vault = vault
        self._mount = mount
        self._detailed = detailed and mount.version == 2

    def folder(self, folder: str) -> Folder:
        """Return what :meth:`names` does, with the keys' metadata if it is wanted and to be had."""
        names = self.names(folder)
        if not self._detailed or not 0 < len(names.keys) <= LARGEST:
            return names
        pages = list(self.pages(folder))
        self._detailed = bool(pages)
        info = {key: info for page in pages for key, info in page.info.items()}
        return Folder(names.keys, info, names.moment)

    def names(self, folder: str) -> Folder:
        """Return the keys of one folder; those that are folders end with a slash."""
        return _folder(self._list("metadata" if self._mount.version == 2 else "", folder))

    def pages(self, folder: str, most: int = LARGEST) -> Iterator[Folder]:
        """Yield what the server says of a folder's keys, page by page, of which none is larger than ``most``.
        Where this kind of listing is unknown or not allowed there is none, or no more: which keys there are
        :meth:`names` says."""
        after, limit = None, min(PAGE, most)
        while True:
            try:
                answer = self._list("detailed-metadata", folder, after=after, limit=limit)
            except (Denied, VaultRefused):
                return
            if not answer.found:
                return
            page = _folder(answer)
            yield page
            fresh = [key for key in page.keys if after is None or key > after]
            if len(page.keys) != limit or not fresh:  # a server that ignores 'after' would go on for ever
                return
            after = fresh[-1]

    def _list(self, kind: str, folder: str, **parameters: object) -> ServerAnswer:
        mount = self._mount
        return self._vault.list(mount.path, kind, folder, namespace=mount.namespace, **parameters)


WORTH = 4
"""Keys below a folder from which on the folder is asked which of them are there, and not each of them."""


def absent(
    lister: Lister,
    paths: Sequence[str],
    *,
    each: Callable[[Callable[[str], Folder], list[str]], Iterable[Folder]],
) -> Iterator[str]:
    """Yield those of these keys that are not there, as far as listings show it: of a mount that is empty one
    tells of all. It is what keeps a restore within four requests a secret.

    Where listing is not allowed they tell nothing. A policy may filter listings in silence, so whoever
    writes what is not there writes with check-and-set.

    Args:
        each: lists folders, as many at once as may be, in their order.
    """
    waiting = [paths]
    while waiting := [some for some in waiting if len(some) >= WORTH]:
        starts = [_common_folder(some) for some in waiting]
        below: dict[str, list[str]] = {}
        try:
            listings = [frozenset(listing.keys) for listing in each(lister.names, starts)]
        except (Denied, VaultRefused):
            return
        for start, there, some in zip(starts, listings, waiting, strict=True):
            for path in some:
                name, slash, _ = path[len(start) :].partition("/")
                if name + slash not in there:
                    yield path
                elif slash:
                    below.setdefault(start + name + slash, []).append(path)
        waiting = list(below.values())


def _common_folder(paths: Sequence[str]) -> str:
    low, high = min(paths), max(paths)
    same = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[: low.rfind("/", 0, same) + 1]


def walk(vault: Vault, mount: Mount, *, in_flight: int, detailed: bool) -> Iterator[ListedKey]:
    """Yield every key of a mount, in any order. The deepest folders go first, so few are waiting."""
    lister = Lister(vault, mount, detailed=detailed)
    waiting, running = [""], dict[Future[Folder], str]()
    try:
        while waiting or running:
            while waiting and len(running) < in_flight:
                folder = waiting.pop()
                running[vault.threads.submit(lister.folder, folder)] = folder
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield from _entries(running.pop(future), future.result(), waiting.append)
    finally:
        for future in running:
            future.cancel()


def _entries(folder: str, found: Folder, descend: Callable[[str], None]) -> Iterator[ListedKey]:
    leaves = sum(not key.endswith("/") for key in found.keys)
    for key in found.keys:
        if not answers.addressable(key.removesuffix("/")):
            raise SourceError(
                f"a key in folder '{folder}' has a name that cannot be asked for: {key!r}",
                hint="Move the secret to another name; it cannot be backed up as it is.",
            )
        if not key.endswith("/"):
            yield ListedKey(folder + key, leaves, found.info.get(key))
        elif folder.count("/") >= DEEPEST:
            raise SourceError(f"folders lie deeper than {DEEPEST} at '{folder[:200]}'")
        else:
            descend(folder + key)


def _folder(answer: ServerAnswer) -> Folder:
    """An empty folder is a 404. What a folder's own entry says is its namesake's: it is not looked at."""
    keys = (answer.read(KEYS).data if answer.found else None) or KvListing()
    return Folder(list(keys.keys), dict(keys.key_info), answer.moment or datetime.now(UTC))
