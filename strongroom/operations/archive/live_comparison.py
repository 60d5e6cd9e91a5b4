"""Whether a source still holds what a backup holds: the walk that validate, verify and drift share.

Secrets are read in batches. Values are compared by their keyed digests where a backup has those, so that
nothing but metadata is read of the backup.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from strongroom.container.cobblestone import ValueDigester
from strongroom.container.errors import DAMAGE
from strongroom.errors import SourceError, StrongroomError
from strongroom.model import ListedSecret, Secret, Selection
from strongroom.sources import Source
from strongroom.sources.batches import matches
from strongroom.system.lazy import batched
from strongroom.words import plural

T = TypeVar("T")

BATCH = 1_000

Live = Secret | StrongroomError | None
"""What a source has of a secret now: nothing, or why this one cannot be read."""
Digests = Mapping[int, bytes]
"""The keyed digest of each stored value of a secret, by the number of its version."""


class SecretState(StrEnum):
    """How a secret of a backup stands in its source."""

    SAME = "same"
    CHANGED = "changed"
    MISSING = "missing"
    UNREAD = "unread"


def selected(source: Source, selection: Selection) -> Iterator[ListedSecret]:
    """Yield what a selection means in a source."""
    listed = source.list(with_tags=bool(selection.tags))
    return (entry for entry in listed if matches(selection, entry))


def beside(source: Source, held: Iterable[tuple[str, T]]) -> Iterator[tuple[str, T, Live]]:
    """Yield each secret that a backup holds, by its name, beside what the source has of it now.

    Raises:
        SourceError: the source itself did not answer, and nothing is to be said of any secret.
    """
    for batch in batches(held):
        live = read_each(source, [ListedSecret(name, 0) for name, _ in batch])
        yield from ((name, row, now) for (name, row), now in zip(batch, live, strict=True))


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Return items in lists of :data:`BATCH`."""
    return batched(items, BATCH)


def read_each(source: Source, batch: Sequence[ListedSecret]) -> Iterator[Live]:
    """Yield each secret, or what is wrong with it: one that is damaged must not hide the others."""
    given = 0
    try:
        for secret in source.read(batch):
            yield secret
            given += 1
    except (*DAMAGE, SourceError) as error:
        if error.transient:
            raise
        for entry in batch[given:]:
            yield _alone(source, entry)


def _alone(source: Source, entry: ListedSecret) -> Live:
    try:
        return next(iter(source.read([entry])), None)
    except (*DAMAGE, SourceError) as error:
        if error.transient:
            raise
        return error


def standing(live: Live, held: Digests, digest: ValueDigester) -> SecretState:
    """Return how a secret stands of which a backup holds these digests."""
    match live:
        case None:
            return SecretState.MISSING
        case Secret():
            return SecretState.SAME if digests_of(live, digest) == held else SecretState.CHANGED
        case _:
            return SecretState.UNREAD


def digests_of(secret: Secret, digest: ValueDigester) -> dict[int, bytes]:
    """Return the keyed digest of each value that a secret has."""
    return {
        version.number: digest(secret.name, version.number, version.value.reveal())
        for version in secret.versions
        if version.value is not None
    }


def describe_drift(changed: int, missing: int, extra: int = 0) -> str:
    """Return in words how a source differs from a backup; empty if it does not."""
    counts = {"changed": changed, "missing from it": missing, "not in the backup": extra}
    return ", ".join(f"{plural(count, 'secret')} {words}" for words, count in counts.items() if count)


class Numbers:
    """A number for each name, in a place of 16 bytes; up to three quarters of the places are taken. A
    dictionary takes a hundred bytes a name, and a backup may hold a million.

    A name is known by its hash. Each process keys hashes anew, so nobody makes two names meet; a child that
    this process forked has the same.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(_LEAST_PLACES * 16))
        self._taken = 0

    def __len__(self) -> int:
        return self._taken

    def get(self, name: str) -> int | None:
        """Return the number of a name; ``None`` if it has none."""
        place = self._place(hashed(name))
        return self._table[place + 1] if self._table[place] else None

    def set(self, name: str, number: int) -> None:
        """Give a name a number, in the place of the one that it has."""
        self.put(hashed(name), number)

    def put(self, key: int, number: int) -> None:
        """Give a name a number, by its hash."""
        place = self._place(key)
        if not self._table[place]:
            self._table[place] = key
            self._taken += 1
        self._table[place + 1] = number
        if self._taken * 8 > len(self._table) * 3:
            self._grow()

    def _place(self, key: int) -> int:
        """Return where a name is, or is to be: the first free place from where its hash points on."""
        table, most = self._table, len(self._table) - 1
        place = key * 2 & most
        while (there := table[place]) and there != key:
            place = place + 2 & most
        return place

    def _grow(self) -> None:
        before = self._table
        self._table = array("Q", bytes(len(before) * 16))
        for at in range(0, len(before), 2):
            if key := before[at]:
                place = self._place(key)
                self._table[place], self._table[place + 1] = key, before[at + 1]


_LEAST_PLACES = 1_024


def hashed(name: str) -> int:
    """Return what a name is known by in a table: never 0, which is a free place."""
    return hash(name) % 2**64 or 1


# -- How many secrets a backup must hold not to be called degraded ------------------------------


FLOOR = 0.9
"""The part of the expected secrets that a backup must hold not to be called degraded."""
REMEMBERED = 30 * 86_400.0
"""Seconds of earlier backups that a new one is compared with. Compared with the last one only, a drop would
be reported once, and the next backup would take what is left for all there is."""
