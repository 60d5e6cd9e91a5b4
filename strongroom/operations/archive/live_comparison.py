"""Whether a source still holds what a backup holds: the walk that validate, verify and drift share.

Secrets are read in batches. Values are compared by their keyed digests where a backup has those, so that
nothing but metadata is read of the backup.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
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
PARTS = 65_536
"""Parts of a table: one of a million names has 15 of them in each."""

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
    """A number for each name, in 16 bytes where a dictionary takes a hundred: a backup may hold a million.

    A name is known by its hash. Each process keys hashes anew, so nobody makes two names meet.
    """

    def __init__(self) -> None:
        self._parts: defaultdict[int, array[int]] = defaultdict(partial(array, "Q"))

    def get(self, name: str) -> int | None:
        """Return the number of a name; ``None`` if it has none."""
        part, place = self._find(name)
        return None if place is None else part[place]

    def set(self, name: str, number: int) -> None:
        """Give a name a number, in the place of the one that it has."""
        part, place = self._find(name)
        if place is None:
            part.extend((_hash(name), number))
        else:
            part[place] = number

    def _find(self, name: str) -> tuple[array[int], int | None]:
        number = _hash(name)
        part = self._parts[number % PARTS]
        names = part[::2]
        return part, 2 * names.index(number) + 1 if number in names else None


def _hash(name: str) -> int:
    return hash(name) % 2**64


# -- How many secrets a backup must hold not to be called degraded ------------------------------


FLOOR = 0.9
"""The part of the expected secrets that a backup must hold not to be called degraded."""
REMEMBERED = 30 * 86_400.0
"""Seconds of earlier backups that a new one is compared with. Compared with the last one only, a drop would
be reported once, and the next backup would take what is left for all there is."""
