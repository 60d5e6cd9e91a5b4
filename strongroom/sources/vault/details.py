"""Metadata of whole folders in one request each, for those who read many keys of a folder."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from strongroom.sources.vault.listing import LARGEST, Folder, Lister
from strongroom.sources.vault.records import KeyInfo, Mount
from strongroom.vault.client import Vault

SHARE = 4
"""A folder is listed when at least one in so many of its keys is wanted: listing costs the server
about a fifth of a request for each key."""

_PACK = msgspec.msgpack.Encoder()
_UNPACK = msgspec.msgpack.Decoder(KeyInfo)


class WantedKey(Struct, frozen=True, gc=False):
    """A key to be read, and how many there are in its folder; 0 if nobody counted."""

    mount: Mount
    path: str
    beside: int

    @property
    def folder(self) -> tuple[str, str]:
        """The folder, in which mount."""
        return self.mount.name, self.path[: self.path.rfind("/") + 1]


class Details:
    """Lists each folder that is worth it once, when its first key is asked for, and lets go of it
    with its last."""

    def __init__(self, vault: Vault, wanted: Iterable[WantedKey | None]) -> None:
        self._vault = vault
        self._left = Counter[tuple[str, str]]()
        beside = dict[tuple[str, str], int]()
        for each in wanted:
            if each is not None and each.mount.version == 2 and each.beside:
                self._left[each.folder] += 1
                beside[each.folder] = each.beside
        self._worth = {
            folder for folder, many in beside.items() if 1 < many <= min(LARGEST, SHARE * self._left[folder])
        }
        self._held: dict[tuple[str, str], _FolderMetadata] = {}
        self._locks = {folder: threading.Lock() for folder in self._worth}

    def known(self, wanted: WantedKey | None) -> tuple[KeyInfo, datetime] | None:
        """Return a key's metadata and the server's clock when it was listed, if it was. Each
        key is asked for once."""
        if wanted is None or wanted.folder not in self._worth:
            return None
        folder = wanted.folder
        with self._locks[folder]:
            if folder not in self._held:
                self._held[folder] = _held(Lister(self._vault, wanted.mount, detailed=True).pages(folder[1]))
            held = self._held[folder]
            self._left[folder] -= 1
            if not self._left[folder]:
                self._held[folder] = _NOTHING
        packed = held.info.pop(wanted.path[len(folder[1]) :], None)
        return None if packed is None else (_UNPACK.decode(packed), held.moment)


class _FolderMetadata(Struct, frozen=True, gc=False):
    """A folder's metadata, each key's packed: as records they would take three times the memory."""

    info: dict[str, bytes]
    moment: datetime


_NOTHING = _FolderMetadata({}, datetime.min.replace(tzinfo=UTC))


def _held(pages: Iterator[Folder]) -> _FolderMetadata:
    moment = None
    packed: dict[str, bytes] = {}
    for page in pages:
        moment = moment or page.moment
        packed |= {key: _PACK.encode(info) for key, info in page.info.items()}
    return _FolderMetadata(packed, moment) if moment else _NOTHING
