"""Walks a mount's folders, many at once, without holding the tree.

``foo`` and ``foo/`` may both be there: one is a secret, the other a folder, and nothing here
makes a tree of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import UTC, datetime

from msgspec import Struct

from strongroom.errors import SourceError
from strongroom.sources.vault.records import KEYS, KeyInfo, KvListing, Mount
from strongroom.vault import paths
from strongroom.vault.answers import ServerAnswer
from strongroom.vault.client import Vault
from strongroom.vault.failures import Denied, VaultRefused

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
        """Return the keys of one folder; those that are folders end with a slash."""
        names = _folder(self._list("metadata" if self._mount.version == 2 else "", folder))
        if not self._detailed or not 0 < len(names.keys) <= LARGEST:
            return names
        pages = list(self.pages(folder))
        self._detailed = bool(pages)
        info = {key: info for page in pages for key, info in page.info.items()}
        return Folder(names.keys, info, names.moment)

    def pages(self, folder: str) -> Iterator[Folder]:
        """Yield what the server says of a folder's keys, page by page. Where this kind of listing is unknown
        or not allowed there is none, or no more: which keys there are :meth:`folder` says."""
        after = None
        while True:
            try:
                answer = self._list("detailed-metadata", folder, after=after, limit=PAGE)
            except (Denied, VaultRefused):
                return
            if not answer.found:
                return
            page = _folder(answer)
            yield page
            fresh = [key for key in page.keys if after is None or key > after]
            if len(page.keys) != PAGE or not fresh:  # a server that ignores 'after' would go on for ever
                return
            after = fresh[-1]

    def _list(self, kind: str, folder: str, **parameters: object) -> ServerAnswer:
        mount = self._mount
        return self._vault.list(mount.path, kind, folder, namespace=mount.namespace, **parameters)


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
        if not paths.addressable(key.removesuffix("/")):
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
