"""The wrapping keys of indexes of names: which belong to a backup, for whoever re-wraps or carries them.

What an index names as its wrapping key is looked at only where a receipt vouches for the very container. A
stolen key of the seal role could sign another one, that carries the record of another policy's backup:
re-wrapped here, it would open for this policy's readers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

from msgspec import Struct

from strongroom.container.index_receipt import IndexReceipt
from strongroom.container.manifest import Manifest
from strongroom.container.wrapping import WrappingKeyRecord
from strongroom.errors import StrongroomError
from strongroom.operations.archive.index_files import (
    Chains,
    PlacedIndex,
    list_indexes,
    of_containers,
    receipt_of,
    record_of,
)
from strongroom.targets import Target


class IndexKey(Struct, frozen=True, kw_only=True):
    """An index's wrapping key as the file carries it, whose backup that is, and the targets that show it."""

    record: WrappingKeyRecord
    backup: str
    targets: tuple[str, ...]


class IndexKeys:
    """The indexes on some targets, which are listed once and read when they are asked for.

    ``away`` says why a target could not be listed.
    """

    def __init__(self, targets: Mapping[str, Target], *, trusted: frozenset[str]) -> None:
        self.away: dict[str, StrongroomError] = {}
        self._trusted = trusted
        self._targets = {id(target): name for name, target in targets.items()}
        self._chains: Chains = {}
        for name, target in targets.items():
            _merge(self._chains, list_indexes({name: target}, told=lambda _, why: self._is_away(name, why)))  # noqa: B023

    def _is_away(self, name: str, error: StrongroomError) -> None:
        self.away[name] = error

    def of(self, manifest: Manifest, *, kept: Collection[str] = ()) -> Iterator[IndexKey]:
        """Yield the keys of a backup's indexes, and of those before them of backups that are not ``kept``: no
        other backup's turn brings these, and none of the later indexes can be read without them.

        Args:
            kept: the backups that have a turn of their own; without them its own indexes alone are meant.
        """
        for chain, backups in self._chains.items():
            for sha256, shown in backups.get(manifest.backup_id, {}).items():
                receipt = self._receipt(shown, chain, manifest.backup_id, sha256)
                if receipt is not None and receipt.containers == of_containers(manifest):
                    yield from self._back_from(receipt, shown, kept)

    def in_chain(self, chain: str) -> Iterator[IndexKey]:
        """Yield the keys of all indexes of a chain."""
        for backup, indexes in self._chains.get(chain, {}).items():
            for sha256, shown in indexes.items():
                if (receipt := self._receipt(shown, chain, backup, sha256)) is not None:
                    with suppress(StrongroomError):
                        yield self._key(receipt, shown)

    def _back_from(
        self, receipt: IndexReceipt, shown: PlacedIndex, kept: Collection[str]
    ) -> Iterator[IndexKey]:
        while True:
            with suppress(StrongroomError):  # a file that is damaged everywhere counts for nobody
                yield self._key(receipt, shown)
            before = receipt.previous
            if before is None or not kept or before.backup_id in kept:
                return
            earlier = self._chains[receipt.chain].get(before.backup_id, {}).get(before.sha256)
            found = earlier and self._receipt(earlier, receipt.chain, before.backup_id, before.sha256)
            if not earlier or found is None:
                return
            receipt, shown = found, earlier

    def _receipt(self, shown: PlacedIndex, chain: str, backup: str, sha256: str) -> IndexReceipt | None:
        with suppress(StrongroomError):
            return receipt_of(shown, chain, backup, sha256, trusted=self._trusted)
        return None

    def _key(self, receipt: IndexReceipt, shown: PlacedIndex) -> IndexKey:
        record = record_of(shown, receipt, trusted=self._trusted)
        names = dict.fromkeys(self._targets[id(file.objects)] for file in shown.files)
        return IndexKey(record=record, backup=receipt.backup_id, targets=tuple(names))


def _merge(into: Chains, found: Chains) -> None:
    for chain, backups in found.items():
        for backup, indexes in backups.items():
            for sha256, index_file in indexes.items():
                shown = (
                    into.setdefault(chain, {}).setdefault(backup, {}).setdefault(sha256, PlacedIndex([], []))
                )
                shown.files.extend(index_file.files)
                shown.receipts.extend(index_file.receipts)
