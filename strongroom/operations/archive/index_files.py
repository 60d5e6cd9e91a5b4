"""Indexes of names on targets: which there are, which count, how they continue one another, who opens
them."""

from __future__ import annotations

import hashlib
import io
import re
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import IO, NamedTuple, TypeVar

from msgspec import Struct

from strongroom.container.errors import Malformed, MissingPiece, Tampered
from strongroom.container.manifest import Manifest
from strongroom.container.name_index import INDEX, LONGEST, MOST, IndexReceipt, NameIndex, digest_of
from strongroom.container.ranges import OpenFileRanges, RangeReader
from strongroom.container.reader import read_outer, require_signature
from strongroom.container.wrapping import WrappingKeyRecord
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.operations.archive.envelopes import KEYS, find_newest, newest_of
from strongroom.operations.archive.open import ObjectReader
from strongroom.operations.engine.layout import INDEXES
from strongroom.system.lazy import lazy
from strongroom.targets import Target
from strongroom.targets.reading import Objects, sound_copy

_temporary_file = lazy("tempfile:TemporaryFile")

# -- The indexes of names that places show: which there are, which count, and how they continue one another
#
# An index is never believed alone. Its receipt, which the control role signed as the backup was made, names
# its file; and it counts for a backup whose manifest counts and names the very containers that the index is
# of. Any other backup is read itself. Whoever may write to a target may put something there that is none,
# or remove one: that costs time.


MOST_TRIED = 4
"""Files of one backup that are opened: who fills a target with junk makes nobody read all of it."""
SMALL = 1024 * 1024
"""Bytes up to which a file is held in memory."""
ALL_SMALL = 64 * 1024 * 1024
"""Bytes of them that are held at once; the others go through files, sealed as they are."""
MOST_BYTES = 1024 * 1024 * 1024
"""Of an index that is read. It has some 40 a secret."""
AT_ONCE = 8
_NAME = re.compile(rf"{INDEXES}([^/]+)/([^/]+)/([0-9a-f]{{64}})(\.json)?(?:\.r[1-9])?")

T = TypeVar("T")
Told = Callable[[str, StrongroomError], None]


class File(NamedTuple):
    name: str
    size: int
    objects: Objects


class PlacedIndex(NamedTuple):
    """An index and its receipt, as places show them: copies of each."""

    files: list[File]
    receipts: list[File]


Chains = dict[str, dict[str, dict[str, PlacedIndex]]]
"""What lies there, by chain, by backup and by the digest of the file."""


def list_indexes(places: Mapping[str, Objects], *, told: Told) -> Chains:
    """Return what lies there as an index that has a receipt somewhere.

    Args:
        told: is given the name of what could not be listed, and why.
    """
    chains: Chains = {}
    for place, objects in places.items():
        try:
            for info in objects.list(INDEXES):
                if match := _NAME.fullmatch(info.name):
                    chain, backup, sha256, receipt = match.groups()
                    shown = chains.setdefault(chain, {}).setdefault(backup, {})
                    index_file = shown.setdefault(sha256, PlacedIndex([], []))
                    (index_file.receipts if receipt else index_file.files).append(
                        File(info.name, info.size, objects)
                    )
        except StrongroomError as error:
            told(f"{place}/{INDEXES}", error)
    return {chain: vouched for chain, backups in chains.items() if (vouched := _vouched(chain, backups))}


def _vouched(
    chain: str, backups: Mapping[str, Mapping[str, PlacedIndex]]
) -> dict[str, dict[str, PlacedIndex]]:
    """Leave out what has no receipt, or no file: it counts for nothing, and nobody need hear of it."""
    both = {
        backup: {
            sha256: index_file
            for sha256, index_file in shown.items()
            if index_file.files and index_file.receipts
        }
        for backup, shown in backups.items()
        if chain <= backup
    }
    return {backup: shown for backup, shown in both.items() if shown}


def receipt_of(
    shown: PlacedIndex, chain: str, backup: str, sha256: str, *, trusted: frozenset[str]
) -> IndexReceipt:
    """Return the receipt that counts of the index that has this place; raise why there is none."""

    def read(copy: File) -> IndexReceipt:
        return INDEX.parse(b"".join(copy.objects.read(copy.name, length=MOST)), trusted=trusted)

    receipt = _first([partial(read, copy) for copy in shown.receipts])
    if (receipt.backup_id, receipt.sha256, receipt.chain) != (backup, sha256, chain):
        raise Tampered(f"The receipt of the index of {backup} is another one's.")
    return receipt


def record_of(shown: PlacedIndex, receipt: IndexReceipt, *, trusted: frozenset[str]) -> WrappingKeyRecord:
    """Return the wrapping key's record that an index carries. The signature that the receipt names covers it,
    so the end of the file is all that is read."""

    def read(copy: File) -> WrappingKeyRecord:
        outer = read_outer(ObjectReader(copy.objects, copy.name), trusted=trusted)
        require_signature(outer, receipt.container_signature, by="receipt")
        return outer.envelope.wrapping_key

    return _first([partial(read, copy) for copy in shown.files])


def whole(
    shown: PlacedIndex, sha256: str, *, in_memory: Callable[[int], bool] = lambda _: False
) -> RangeReader:
    """Return the bytes that a receipt names. What was compared is what is read: none is read twice."""

    def read(copy: File) -> RangeReader:
        if copy.size > MOST_BYTES:
            raise Malformed(f"'{copy.name}' is larger than any index that is read.")
        return _copied(copy, sha256, in_memory=in_memory(copy.size))

    return _first([partial(read, copy) for copy in shown.files])


def read_receipt(objects: Objects, name: str, *, trusted: frozenset[str]) -> bytes:
    """Return the bytes of a receipt that counts; raise why there is none."""

    def parsed(content: bytes) -> bytes:
        INDEX.parse(content, trusted=trusted)
        return content

    return sound_copy(objects, name, parsed)


class Envelopes:
    """The newest envelopes of wrapping keys over several places. Each place is listed once."""

    def __init__(self, places: Iterable[Objects]) -> None:
        self._places = list(places)
        self._by_key: dict[str, list[Objects]] | None = None

    def of(self, key: str, *, trusted: frozenset[str]) -> WrappingKeyRecord | None:
        """Return the record that counts; nothing if it is the one that the file itself carries."""
        if self._by_key is None:
            self._by_key = self._listed()
        return newest_of(
            find_newest(objects, key, trusted=trusted).newest for objects in self._by_key.get(key, ())
        )

    def _listed(self) -> dict[str, list[Objects]]:
        found: dict[str, list[Objects]] = {}
        for place in self._places:
            with suppress(StrongroomError):  # one that is away says nothing
                for key in {info.name.split("/")[1] for info in place.list(KEYS)}:
                    found.setdefault(key, []).append(place)
        return found


class _ReceiptedIndex(NamedTuple):
    """A file, compared with its receipt."""

    receipt: IndexReceipt
    reader: RangeReader


class Indexes:
    """The indexes that some places show.

    Args:
        told: is given the name of what does not count, and why; the same thing once.
    """

    def __init__(self, places: Mapping[str, Objects], identities: Sequence[Opener], *, told: Told) -> None:
        self._identities = identities
        self._told = told
        self._said: set[tuple[str, str]] = set()
        self._chains = list_indexes(places, told=told)
        self._envelopes = Envelopes(places.values())

    @property
    def backups(self) -> frozenset[str]:
        """The backups of which there may be an index."""
        return frozenset(backup for chain in self._chains.values() for backup in chain)

    def lines(
        self, manifests: Collection[str], *, trusted: frozenset[str], covered: Collection[str]
    ) -> Iterator[tuple[str, list[NameIndex]]]:
        """Yield chains by name, and the indexes in them up to one of these backups, the first of them first.

        Args:
            covered: is asked anew each time. Whoever reads a line adds the backups of which it tells.
        """
        tried: Counter[str] = Counter()
        for name in sorted(self._chains, reverse=True):
            shown = self._chains[name]
            chain = _Chain(name, shown, self._envelopes, self._identities, trusted)
            for backup in sorted(shown.keys() & manifests, reverse=True):
                if backup in covered or tried[backup] == MOST_TRIED:
                    continue
                tried[backup] += 1
                try:
                    line = chain.up_to(backup)
                except StrongroomError as error:
                    self.tell(name, error)
                    continue
                yield name, line

    def tell(self, chain: str, error: StrongroomError) -> None:
        """Say what is wrong with a chain."""
        if (chain, error.message) not in self._said:
            self._said.add((chain, error.message))
            self._told(f"{INDEXES}{chain}/", error)


class _Chain:
    """Indexes that continue one another, and what else lies among them. Each file is read once."""

    def __init__(
        self,
        name: str,
        shown: Mapping[str, Mapping[str, PlacedIndex]],
        envelopes: Envelopes,
        identities: Sequence[Opener],
        trusted: frozenset[str],
    ) -> None:
        self._name = name
        self._shown = shown
        self._envelopes = envelopes
        self._identities = identities
        self._trusted = trusted
        self._size = 0
        self._held: dict[tuple[str, str], _ReceiptedIndex | StrongroomError] = {}
        self._known: dict[tuple[str, str], NameIndex | StrongroomError] = {}

    def up_to(self, backup: str) -> list[NameIndex]:
        """Return the index of a backup and those that it continues, the first of them first.

        Raises:
            StrongroomError: why one of them does not count.
        """
        line = [self._newest(backup)]
        while (previous := line[-1].head.previous) is not None:
            if len(line) == LONGEST:
                raise Tampered(f"The index of {backup} continues more than {LONGEST} others.")
            self._read_ahead()
            line.append(self._opened(previous.backup_id, previous.sha256))
        return line[::-1]

    def _newest(self, backup: str) -> NameIndex:
        failure: StrongroomError = MissingPiece(f"The index of {backup} is not there.")
        for sha256 in islice(sorted(self._shown.get(backup, ())), MOST_TRIED):
            try:
                return self._opened(backup, sha256)
            except StrongroomError as error:
                failure = error
        raise failure

    def _opened(self, backup: str, sha256: str) -> NameIndex:
        key = backup, sha256
        if key not in self._known:
            try:
                self._known[key] = self._open(backup, sha256)
            except StrongroomError as error:
                self._known[key] = error
        known = self._known[key]
        failure = known if isinstance(known, StrongroomError) else known.damage
        if failure is not None:
            raise failure
        assert isinstance(known, NameIndex)
        return known

    def _open(self, backup: str, sha256: str) -> NameIndex:
        held = self._compared(backup, sha256)
        if isinstance(held, StrongroomError):
            raise held
        outer = read_outer(held.reader, trusted=self._trusted)
        require_signature(outer, held.receipt.container_signature, by="receipt")
        record = outer.envelope.wrapping_key
        newer = self._envelopes.of(record.id, trusted=self._trusted)
        index = NameIndex.open(held.reader, self._identities, newer=newer, trusted=self._trusted)
        said = (index.about.backup_id, index.head.containers, index.head.previous)
        if said != (held.receipt.backup_id, held.receipt.containers, held.receipt.previous):
            raise Tampered(f"The index of {backup} is not what its receipt says.")
        return index

    def _compared(self, backup: str, sha256: str) -> _ReceiptedIndex | StrongroomError:
        key = backup, sha256
        if key not in self._held:
            try:
                self._held[key] = self._read(backup, sha256)
            except StrongroomError as error:
                self._held[key] = error
        return self._held[key]

    def _read(self, backup: str, sha256: str) -> _ReceiptedIndex:
        shown = self._shown.get(backup, {}).get(sha256)
        if shown is None:
            raise MissingPiece(f"The index of {backup} is not there, or has no receipt.")
        receipt = receipt_of(shown, self._name, backup, sha256, trusted=self._trusted)
        return _ReceiptedIndex(receipt, whole(shown, sha256, in_memory=self._has_room))

    def _has_room(self, size: int) -> bool:
        fits = size <= SMALL and self._size + size <= ALL_SMALL
        self._size += size if fits else 0
        return fits

    def _read_ahead(self) -> None:
        """Read the small files of a chain at once: each is a request, and they are needed one by one."""
        wanted = [
            (backup, sha256)
            for backup, shown in self._shown.items()
            for sha256, index_file in islice(shown.items(), MOST_TRIED)
            if (backup, sha256) not in self._held and index_file.files[0].size <= SMALL
        ]
        if len(self._held) < LONGEST:
            with ThreadPoolExecutor(AT_ONCE) as threads:
                list(threads.map(lambda pair: self._compared(*pair), wanted[:LONGEST]))


def _first(attempts: Sequence[Callable[[], T]]) -> T:
    """Return what the first copy gives that is sound; raise what is wrong with the last one tried."""
    failure: StrongroomError = MissingPiece("It is not there.")
    for attempt in attempts[:MOST_TRIED]:
        try:
            return attempt()
        except StrongroomError as error:
            failure = error
    raise failure


def _copied(file: File, sha256: str, *, in_memory: bool) -> RangeReader:
    kept: IO[bytes] = io.BytesIO() if in_memory else _temporary_file()  # its reader's
    reader = OpenFileRanges(kept, file.size)
    weakref.finalize(reader, kept.close)
    digest = hashlib.sha256()
    for chunk in file.objects.read(file.name, length=file.size):
        digest.update(chunk)
        kept.write(chunk)
    if digest.hexdigest() != sha256:
        raise Tampered(f"'{file.name}' is not the file that its name says.")
    return reader


def is_of(index: NameIndex, manifest: Manifest | None) -> bool:
    """Tell whether an index is of this very backup: of the containers that its manifest names."""
    if manifest is None:
        return False
    said = (index.about.policy, index.head.source, index.head.containers)
    return said == (manifest.policy, manifest.source, of_containers(manifest))


def of_containers(manifest: Manifest) -> str:
    """Return what an index of a backup says its containers are."""
    return digest_of(entry.sha256 for entry in manifest.containers)


# -- The wrapping keys of indexes of names: which belong to a backup, for whoever re-wraps or carries them
#
# What an index names as its wrapping key is looked at only where a receipt vouches for the very container. A
# stolen key of the seal role could sign another one, that carries the record of another policy's backup:
# re-wrapped here, it would open for this policy's readers.


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
