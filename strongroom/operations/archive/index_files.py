"""The indexes of names that places show: which there are, and how they continue one another.

An index is never believed alone. It counts for a backup whose manifest counts and names the very containers
that the index is of; any other backup is read itself. Whoever may write to a target may put something there
that is none, or remove one: that costs time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, islice
from typing import NamedTuple

from strongroom.container.errors import MissingPiece, Tampered
from strongroom.container.manifest import Manifest
from strongroom.container.name_index import NameIndex, digest_of
from strongroom.container.ranges import BytesReader
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.operations.layout import INDEXES
from strongroom.targets.repaired import Objects

MOST_TRIED = 4
"""Files of one backup that are opened: who fills a target with junk makes nobody read all of it."""
SMALL = 1024 * 1024
"""Bytes up to which a file is read in one piece, with others at once."""
ALL_SMALL = 64 * 1024 * 1024
"""Bytes of them that are held at once; the others are read in ranges."""
AT_ONCE = 8
_NAME = re.compile(rf"{INDEXES}([^/]+)/([^/]+)/([0-9a-f]{{64}})")

Told = Callable[[str, StrongroomError], None]


class File(NamedTuple):
    name: str
    size: int
    objects: Objects


def list_indexes(places: Mapping[str, Objects], *, told: Told) -> dict[str, dict[str, list[File]]]:
    """Return what lies there as an index, by chain and by backup.

    Args:
        told: is given the name of what could not be listed, and why.
    """
    chains: dict[str, dict[str, list[File]]] = {}
    for place, objects in places.items():
        try:
            for info in objects.list(INDEXES):
                if match := _NAME.fullmatch(info.name):
                    files = chains.setdefault(match[1], {}).setdefault(match[2], [])
                    files.append(File(info.name, info.size, objects))
        except StrongroomError as error:
            told(f"{place}/{INDEXES}", error)
    return chains


class Chain:
    """Indexes that continue one another, and what else lies among them. Each file is opened once."""

    def __init__(
        self, files: Mapping[str, Sequence[File]], identities: Sequence[Opener], trusted: frozenset[str]
    ) -> None:
        self._files = files
        self._identities = identities
        self._trusted = trusted
        self._small = _read_small(files)
        self._known: dict[tuple[str, str], NameIndex | StrongroomError] = {}

    def up_to(self, backup: str) -> list[NameIndex]:
        """Return the index of a backup and those that it continues, the first of them first.

        Raises:
            StrongroomError: why one of them does not count.
        """
        line = [self._opened(backup)]
        while (previous := line[-1].head.previous) is not None:
            if previous.backup_id >= line[-1].about.backup_id:
                raise Tampered(f"The index of {line[-1].about.backup_id} continues a later one.")
            line.append(self._opened(previous.backup_id, previous.sha256))
        return line[::-1]

    def _opened(self, backup: str, sha256: str = "") -> NameIndex:
        """Return the index of a backup; ``sha256`` is that of the file, where it is known."""
        key = backup, sha256
        if key not in self._known:
            self._known[key] = self._first_sound(backup, sha256)
        if isinstance(known := self._known[key], StrongroomError):
            raise known
        return known

    def _first_sound(self, backup: str, sha256: str) -> NameIndex | StrongroomError:
        files = [one for one in self._files.get(backup, ()) if one.name.endswith(sha256)]
        failure: StrongroomError = MissingPiece(f"The index of {backup} is not there.")
        for file in files[:MOST_TRIED]:
            content = self._small.get(file.name)
            reader = _Ranged(file) if content is None else BytesReader(content)
            try:
                index = NameIndex.open(reader, self._identities, trusted=self._trusted)
                if index.about.backup_id == backup:
                    return index
                failure = Tampered(f"The index of {backup} is another one's.")
            except StrongroomError as error:
                failure = error
        return failure


def _read_small(files: Mapping[str, Sequence[File]]) -> dict[str, bytes]:
    """Read the small files of a chain at once: each is a request, and they are needed one by one."""
    small = {file.name: file for each in files.values() for file in each if file.size <= SMALL}
    fitting = sum(total <= ALL_SMALL for total in accumulate(file.size for file in small.values()))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        read = threads.map(_content, islice(small.values(), fitting))
        return {name: content for name, content in read if content}


class _Ranged:
    """Ranged reads of a file whose size the listing told."""

    def __init__(self, file: File) -> None:
        self._file = file
        self.size = file.size

    def read(self, offset: int, length: int) -> bytes:
        return b"".join(self._file.objects.read(self._file.name, offset=offset, length=length))


def _content(file: File) -> tuple[str, bytes]:
    try:
        return file.name, b"".join(file.objects.read(file.name, length=SMALL))
    except StrongroomError:
        return file.name, b""  # read in ranges, which says what is wrong


def is_of(index: NameIndex, manifest: Manifest | None) -> bool:
    """Tell whether an index is of this very backup: of the containers that its manifest names."""
    if manifest is None:
        return False
    said = (index.about.policy, index.head.source, index.head.containers)
    held = digest_of(entry.sha256 for entry in manifest.containers)
    return said == (manifest.policy, manifest.source, held)
