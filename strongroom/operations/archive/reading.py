"""Reading one backup from several places: what one does not give whole, the next one does.

A place that is away, damaged or rolled back costs a restore nothing but the second reading of one
container. Which place that was is kept, so that it is said and mended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from strongroom.container.digests import name_hashes
from strongroom.container.errors import DAMAGE, FormatError, MissingPiece, WrongKey
from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.errors import StrongroomError, TargetError
from strongroom.keys import Identity
from strongroom.model import Secret
from strongroom.operations.archive.choice import BackupChoice
from strongroom.operations.archive.envelopes import UnreadableEnvelope
from strongroom.operations.archive.first_answer import most_telling
from strongroom.operations.archive.newest_envelope import Elsewhere
from strongroom.operations.archive.open import Backup, DigestedRow, Listed

T = TypeVar("T")
Told = Callable[[str, str, str], None]
_ELSEWHERE = (*DAMAGE, TargetError)
"""What another place may give all the same."""


class Replicated:
    """A backup, read from the first of its places that gives what is asked for.

    Args:
        trusted: whose detached envelopes count; ``None`` for anybody's, which the caller must say.
        told: is given the name of a place, what is wrong with it, and the backup, if it is damaged there.

    ``gave`` counts what was read from each place so far: secrets, rows or digests. ``failed`` says of each
    place that did not give something whole what was wrong with it.
    """

    def __init__(
        self,
        choice: BackupChoice,
        identities: Sequence[Identity],
        *,
        trusted: frozenset[str] | None,
        told: Told,
    ) -> None:
        places = {
            replica.name: Backup(
                replica.objects,
                choice.manifest,
                identities,
                trusted=trusted,
                known=None
                if trusted is None
                else Elsewhere(
                    [shown_replica.objects for shown_replica in choice.replicas if shown_replica != replica],
                    trusted=trusted,
                ),
            )
            for replica in choice.replicas
        }
        self._begin(choice.manifest, places, told)

    def _begin(self, manifest: Manifest, places: dict[str, Backup], told: Told) -> None:
        self.manifest = manifest
        self.gave: Counter[str] = Counter()
        self.failed: dict[str, str] = {}
        self._told = told
        self._name_key: bytes | None = None
        self._places = places

    @property
    def places(self) -> Mapping[str, Backup]:
        """The backup on each place, the best first."""
        return self._places

    @property
    def aside(self) -> tuple[UnreadableEnvelope, ...]:
        """Envelopes that were left aside with nothing in their place, of the containers opened so far."""
        return tuple(envelope for backup in self._places.values() for envelope in backup.aside)

    def readers(self) -> Manifest:
        """Return the manifest with those who can open the backup now: it may have been rotated since."""
        return self.first(lambda backup: backup.readers())

    def unlock(self) -> None:
        """Open one container of each wrapping key: a wrong key, or a person who is asked, shows here."""
        self.first(lambda backup: backup.unlock())

    def rows(self) -> Iterator[Listed]:
        """Yield the metadata of every secret; values are not read."""
        for entry in self.manifest.containers:
            yield from self.each(lambda backup, entry=entry: backup.rows_in(entry))  # type: ignore[misc]

    def secrets(self) -> Iterator[Secret]:
        """Yield every secret; memory is bounded by one segment."""
        for entry in self.manifest.containers:
            yield from self.each(lambda backup, entry=entry: backup.secrets_in(entry))  # type: ignore[misc]

    def some(self, names: Collection[str]) -> Iterator[Secret]:
        """Yield those of the named secrets that are in it, in its order; only what may hold one is read."""
        for entry, here in self.placed(names):
            yield from self.each(lambda backup, entry=entry, here=here: backup.some_in(entry, here))  # type: ignore[misc]

    def placed(self, names: Collection[str]) -> Iterator[tuple[ContainerEntry, Collection[str]]]:
        """Yield each container that may hold some of the names, with these."""
        if not self.manifest.sealed:
            yield from ((entry, frozenset(names)) for entry in self.manifest.containers)
            return
        hashes = zip(names, name_hashes(self.name_key(), list(names)), strict=True)
        placed = sorted((hashed.hex(), name) for name, hashed in hashes)
        for entry in self.manifest.containers:
            here = [name for hashed, name in placed if entry.first <= hashed <= entry.last]
            if here:
                yield entry, here

    def digested(self) -> Iterator[tuple[str, dict[int, bytes]]]:
        """Yield each secret's name, with the keyed digest of each of its values by the version's number."""
        for entry in self.manifest.containers:
            yield from self.each(lambda backup, entry=entry: backup.container(entry).digested())  # type: ignore[misc]

    def digested_rows(self) -> Iterator[DigestedRow]:
        """Yield the metadata and the digests of every secret; values are not read."""
        for entry in self.manifest.containers:
            yield from self.each(lambda backup, entry=entry: backup.digested_rows_in(entry))  # type: ignore[misc]

    def digested_row(self, name: str) -> DigestedRow | None:
        """Return one secret's metadata and digests with a few ranged reads, or ``None``."""
        return self.first(lambda backup: backup.digested_row(name))

    def name_key(self) -> bytes:
        """Return the key under which the backup hashes names: any container that opens has it.

        Raises:
            FormatError: none opens.
        """
        failures: list[StrongroomError] = []
        for entry in self.manifest.containers if self._name_key is None else ():
            try:
                self._name_key = self.first(lambda backup: backup.container(entry)).about.name_key  # noqa: B023
                break
            except FormatError as error:
                failures.append(error)
        if self._name_key is None:
            raise most_telling(failures) if failures else MissingPiece("the backup has no container")
        return self._name_key

    def find(self, name: str) -> Secret | None:
        """Return one secret with a few ranged reads, or ``None``."""
        return self.first(lambda backup: backup.find(name))

    def first(self, work: Callable[[Backup], T]) -> T:
        """Do something with the first place that lets it be done."""
        return next(iter(self.each(lambda backup: iter([work(backup)]))))

    def each(self, work: Callable[[Backup], Iterator[T]]) -> Iterator[T]:
        """Yield what work yields; where a place fails, go on at the same point with the next one.

        The bytes are the same everywhere, by the digest in the signed manifest, and so is what they yield.
        """
        given = 0
        failures: list[StrongroomError] = []
        for name in list(self._places):
            try:
                for value in islice(work(self._places[name]), given, None):
                    given += 1
                    self.gave[name] += 1
                    yield value
            except WrongKey as error:
                failures.append(error)
            except _ELSEWHERE as error:
                failures.append(error)
                damaged = self.manifest.backup_id if isinstance(error, DAMAGE) else ""
                self.failed[name] = f"{error.code}: {error.message}"
                self._told(name, self.failed[name], damaged)
                self._set_back(name)
            else:
                return
        raise most_telling(failures)

    def _set_back(self, name: str) -> None:
        """Ask a place that failed last from now on."""
        self._places[name] = self._places.pop(name)


class InOnePlace(Replicated):
    """A backup that lies in one place: in a file, or on the only target that was asked."""

    def __init__(self, backup: Backup, told: Told | None = None, *, name: str = "") -> None:
        self._begin(backup.manifest, {name: backup}, told or _untold)


def _untold(name: str, why: str, damaged: str) -> None:
    """Of a file nothing is repaired from elsewhere."""
