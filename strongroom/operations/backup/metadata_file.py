"""The plain metadata-only backup in one file: no key, no state, no broker.

Low risk, as allow-listed fields are all that is in it. It is still written whole or not at
all, and read back before it gets its name.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from strongroom.container.errors import DuplicateSecret, VerificationFailed
from strongroom.container.metadata import CheckedMetadata, DocumentAbout, check_document, write_document
from strongroom.model import COMMAND, ListedSecret, Secret, Selection
from strongroom.operations.errors import NothingSelected
from strongroom.sources import Source
from strongroom.sources.batches import matches
from strongroom.sources.errors import EmptySource
from strongroom.system.files import LocalFileReader, placed
from strongroom.system.lazy import batched
from strongroom.times import rfc3339, unique

BATCH = 1000


def write_metadata_file(
    path: Path, source: Source, *, selection: Selection = Selection(), replace: bool = False
) -> CheckedMetadata:
    """Write the metadata of the selected secrets and return what the file holds.

    Raises:
        WouldOverwrite, TargetFull, TargetReadOnly, TargetError: see :func:`placing.placed`.
        EmptySource, NothingSelected, DuplicateSecret, SourceError: nothing was written.
    """
    listed = _Listed(source, selection)
    with placed(path, replace=replace, check=lambda part: _read_back(part, listed.written)) as file:
        now = time.time()
        listed.written = write_document(
            file.write,
            listed.secrets(),
            about=DocumentAbout(
                backup_id=unique(now),
                piece=0,
                pieces=1,
                source=source.name,
                policy=COMMAND,
                created_at=rfc3339(now),
            ),
        )
        listed.refuse_nothing()
    assert listed.written is not None
    return listed.written


class _Listed:
    """What is selected, read in batches, counted, and held to one secret a name."""

    def __init__(self, source: Source, selection: Selection) -> None:
        self._source = source
        self._selection = selection
        self._seen: set[int] = set()
        self._anything = False
        self.written: CheckedMetadata | None = None

    def secrets(self) -> Iterator[Secret]:
        entries = self._entries()
        for batch in batched(entries, BATCH):
            yield from (secret for secret in self._source.read(batch) if secret is not None)

    def refuse_nothing(self) -> None:
        """Refuse a backup of nothing: it would hide a loss."""
        if not self._anything:
            raise EmptySource(f"source '{self._source.name}' holds no secret")
        if not self._seen:
            raise NothingSelected(f"no secret of source '{self._source.name}' matches the filter")

    def _entries(self) -> Iterator[ListedSecret]:
        for entry in self._source.list(with_tags=bool(self._selection.tags)):
            self._anything = True
            if matches(self._selection, entry):
                self._note(entry.name)
                yield entry

    def _note(self, name: str) -> None:
        # A million hashes fit where a million names do not; a rare hit is looked at again.
        place = hash(name)
        if place in self._seen and sum(entry.name == name for entry in self._source.list()) > 1:
            raise DuplicateSecret(f"source '{self._source.name}' has two secrets named {name!r}")
        self._seen.add(place)


def _read_back(path: Path, written: CheckedMetadata | None) -> None:
    with LocalFileReader(path) as reader:
        if check_document(reader) != written:
            raise VerificationFailed("What was read back is not the document that was written.")
