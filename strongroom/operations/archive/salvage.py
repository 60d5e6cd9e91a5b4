"""Reading on past damage: what is sound of a backup, and what lay in its lost parts out of those before it.

A part is lost that no place gives: a container, or a segment of one. A name of an earlier backup may have
lain in it, or surely did not: a secret that somebody deleted is not brought back because something else is
damaged. FORMAT.md, section 13, states the rule, and ``ops/recover/recover.py`` goes by it too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.cobblestone import name_hash
from strongroom.container.errors import FormatError, WrongKey
from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.container.reader import Container
from strongroom.errors import StrongroomError
from strongroom.model import Secret, prepare
from strongroom.operations.archive.coverage import Asked, BackupPlace
from strongroom.operations.archive.envelopes import UnreadableEnvelope
from strongroom.operations.archive.live_comparison import Numbers, batches
from strongroom.operations.archive.open import Backup, Listed
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.archive.select_backup import Chooser
from strongroom.words import plural, verb

SHOWN = 4
"""Lost parts that are named in text; all are in JSON."""
NAMED = 20
"""Lost secrets that are named in text."""
T = TypeVar("T", Secret, Listed)
Before = Iterable[Replicated]
Holds = Callable[[str], bool]


class LostPart(Struct, frozen=True, kw_only=True):
    """A part of a backup that no place gives, and why not.

    Args:
        segment: which of the container, or ``None`` for all of it.
        secrets: how many lay in it.
        names: theirs, if their values alone are lost; ``None`` if nobody knows them.
    """

    backup: str
    piece: int
    segment: int | None
    secrets: int
    code: str
    why: str
    names: tuple[str, ...] | None = None

    @property
    def words(self) -> str:
        """Name it, for people."""
        where = f"container {self.piece}"
        where = where if self.segment is None else f"segment {self.segment} of {where}"
        return f"{where} ({plural(self.secrets, 'secret')}): {self.code}: {self.why}"


class TakenFrom(Struct, frozen=True, kw_only=True):
    """An earlier backup, and how many secrets came out of it in place of lost ones."""

    backup: str
    created_at: str
    secrets: int


class LostParts(Struct, frozen=True, kw_only=True):
    """What of a backup could not be read, and what of it came from earlier ones.

    Args:
        secrets: how many lay in the parts that are lost.
        names: those whose value no backup gives, as far as they are known.
        nameless: how many more no backup gives; at least so many.
    """

    backup: str
    created_at: str
    parts: tuple[LostPart, ...]
    secrets: int
    taken: tuple[TakenFrom, ...]
    names: tuple[str, ...] = ()
    nameless: int = 0

    @property
    def without_names(self) -> LostParts:
        """The same without the name of a secret, for what leaves the host."""
        parts = tuple(replace(part, names=None) for part in self.parts)
        return replace(self, parts=parts, names=(), nameless=self.gone)

    @property
    def gone(self) -> int:
        """How many secrets no backup gives."""
        return len(self.names) + self.nameless

    @property
    def said(self) -> str:
        """What is lost and what came back, in a sentence or two."""
        came = sum(taken_from.secrets for taken_from in self.taken)
        said = f"{plural(self.secrets, 'secret')} of backup {self.backup} cannot be read."
        said += f" {came:,} {verb(came, 'come')} from earlier backups." if came else ""
        return said + (f" {self.gone:,} {verb(self.gone, 'are')} lost." if self.gone else "")

    def lines(self) -> Iterator[str]:
        """Say what is lost, from when what came instead is, and which secrets no backup gives."""
        yield f"DAMAGED: {self.said}"
        yield from (f"  {part.words}" for part in self.parts[:SHOWN])
        if len(self.parts) > SHOWN:
            yield f"  and {plural(len(self.parts) - SHOWN, 'part')} more; --json names each"
        for taken_from in self.taken:
            yield (
                f"  {plural(taken_from.secrets, 'secret')} as in backup "
                f"{taken_from.backup}, made {taken_from.created_at}"
            )
        yield from (f"  lost: {name}" for name in self.names[:NAMED])
        if len(self.names) > NAMED:
            yield f"  lost: {len(self.names) - NAMED:,} more; --json names each"
        if self.nameless:
            names = "names are" if self.nameless > 1 else "name is"
            yield f"  lost: at least {plural(self.nameless, 'secret')} whose {names} not known"


prepare(LostPart, TakenFrom, LostParts)


class Sound:
    """The sound parts of one backup. What no place gives is kept, and not read again.

    Args:
        told: is told of each part that is lost, when that is found.
        must_open: raise WrongKey if no container opens for want of a key; else all of it is lost.
    """

    def __init__(
        self, backup: Replicated, told: Callable[[LostPart], None], *, must_open: bool = True
    ) -> None:
        self.backup = backup
        self._must_open = must_open
        self.first: StrongroomError | None = None
        self._told = told
        self._lost: dict[tuple[int, int | None], tuple[LostPart, ContainerEntry, Holds]] = {}
        self._came: set[str] = set()
        """Of a backup that is not sealed: no hash tells where else a name that came out could have lain."""

    @property
    def manifest(self) -> Manifest:
        return self.backup.manifest

    @property
    def lost(self) -> Sequence[LostPart]:
        """The parts that no place gives, as far as they were asked for."""
        return [part for part, _, _ in self._lost.values()]

    def could_have_lain(self, name: str) -> bool:
        """Tell whether a name could have lain in a part that is lost."""
        if not self._lost or name in self._came:
            return False
        key = self._name_key()
        hashed = name_hash(key, name).hex() if key is not None else ""
        return any(
            key is None or (entry.first <= hashed <= entry.last and holds(name))
            for _, entry, holds in self._lost.values()
        )

    def unlock(self) -> None:
        """Open a container of each wrapping key, so that a wrong key, or a person who is asked, shows here.

        Raises:
            WrongKey: nothing of it opens.
        """
        opened: set[str] = set()
        for entry in self.manifest.containers if self.manifest.sealed else ():
            if entry.wrapping_key in opened:
                continue
            try:
                self.backup.first(lambda backup: backup.container(entry))  # noqa: B023
                opened.add(entry.wrapping_key)
            except FormatError as error:  # reading tells what is lost
                self._require_key(error)

    def secrets(self) -> Iterator[Secret]:
        """Yield every secret of the sound parts."""
        for entry in self.manifest.containers:
            yield from self.secrets_in(entry)

    def secrets_in(self, entry: ContainerEntry) -> Iterator[Secret]:
        """Yield every secret of the sound parts of one container."""
        return self._of(entry, lambda backup: backup.secrets_in(entry), Container.secrets_of)

    def rows(self) -> Iterator[Listed]:
        """Yield the metadata of every secret of the parts whose rows are sound."""
        for entry in self.manifest.containers:
            yield from self._of(entry, lambda backup: backup.rows_in(entry), Container.rows_of)  # noqa: B023

    def some(self, names: Collection[str]) -> Iterator[Secret]:
        """Yield those of the named secrets that are in the sound parts."""
        if self.manifest.sealed and self._name_key() is None:
            for entry in self.manifest.containers:
                self._lose_unopened(entry)
            return
        for entry, placed in self.backup.placed(names):
            left = set(placed)

            def part(container: Container, number: int) -> Iterable[Secret]:
                return [secret for secret in container.secrets_of(number) if secret.name in left]  # noqa: B023

            yield from self._of(entry, lambda backup: backup.some_in(entry, placed), part, left)  # noqa: B023

    # -- parts ---------------------------------------------------------------------------

    def _of(
        self,
        entry: ContainerEntry,
        whole: Callable[[Backup], Iterator[T]],
        part: Callable[[Container, int], Iterable[T]],
        names: set[str] | None = None,
    ) -> Iterator[T]:
        """Yield what a container gives: all of it, or segment by segment what is sound."""
        given = 0
        if not any(piece == entry.piece for piece, _ in self._lost):
            try:
                for part_read in self.backup.each(whole):
                    given += 1
                    self._note_given(part_read.name)
                    if names is not None:
                        names.discard(part_read.name)
                    yield part_read
            except FormatError as error:
                failure = error
            else:
                return
            if not self.manifest.sealed:
                self._lose(entry, None, failure)
            yield from self._rest(entry, part, given, names)
            if names is None and given == entry.secrets:  # all came out, and are not what the index says
                self._lose(entry, None, failure, names=())
            return
        yield from self._rest(entry, part, given, names)

    def _note_given(self, name: str) -> None:
        if not self.manifest.sealed:
            self._came.add(name)

    def _rest(
        self,
        entry: ContainerEntry,
        part: Callable[[Container, int], Iterable[T]],
        given: int,
        names: set[str] | None,
    ) -> Iterator[T]:
        """Yield what the sound segments of a container give, after what came out before the damage."""
        opened: dict[Backup, Container] = {}

        def container(backup: Backup) -> Container:
            if backup not in opened:
                opened[backup] = backup.container(entry)
            return opened[backup]

        if (entry.piece, None) in self._lost:
            return
        try:
            index = self.backup.first(container)
        except FormatError as error:
            self._lose(entry, None, error)
            return
        for number in self._segments(entry, index, given, names):
            try:
                yield from self.backup.each(lambda place: iter(part(container(place), number)))  # noqa: B023
            except FormatError as error:
                self._lose_segment(entry, number, index, container, error)

    def _segments(
        self, entry: ContainerEntry, index: Container, given: int, names: set[str] | None
    ) -> Iterator[int]:
        """Yield the segments to read: those that gave nothing yet and may give what is asked for."""
        for number, secrets in enumerate(index.segments):
            if names is None and given >= secrets:
                given -= secrets
            elif (entry.piece, number) not in self._lost and (
                names is None or any(index.could_have_lain(number, name) for name in names)
            ):
                yield number

    def _lose_segment(
        self,
        entry: ContainerEntry,
        number: int,
        index: Container,
        container: Callable[[Backup], Container],
        error: FormatError,
    ) -> None:
        try:
            rows = self.backup.first(lambda backup: container(backup).rows_of(number))
        except FormatError:
            self._lose(entry, number, error, index)
        else:  # their values alone are lost
            self._lose(entry, number, error, index, tuple(row.name for row in rows))

    def _lose_unopened(self, entry: ContainerEntry) -> None:
        try:
            self.backup.first(lambda backup: backup.container(entry))
        except FormatError as error:
            self._lose(entry, None, error)

    def _lose(
        self,
        entry: ContainerEntry,
        segment: int | None,
        error: FormatError,
        index: Container | None = None,
        names: tuple[str, ...] | None = None,
    ) -> None:
        """Note that a part is lost. A key that fits nothing is no damage: raise that."""
        self._require_key(error)
        if (entry.piece, segment) in self._lost:
            return
        part = LostPart(
            backup=self.manifest.backup_id,
            piece=entry.piece,
            segment=segment,
            secrets=_count(entry, segment, index, names),
            code=error.code,
            why=error.message,
            names=names,
        )
        self._lost[entry.piece, segment] = part, entry, _holds(segment, index, names)
        self.first = self.first or error
        self._told(part)

    def _require_key(self, error: FormatError) -> None:
        if self._must_open and isinstance(error, WrongKey) and self._name_key() is None:
            raise error

    def _name_key(self) -> bytes | None:
        if not self.manifest.sealed:
            return None
        try:
            return self.backup.name_key()
        except FormatError:
            return None


def _count(
    entry: ContainerEntry, segment: int | None, index: Container | None, names: tuple[str, ...] | None
) -> int:
    if names is not None:
        return len(names)
    return entry.secrets if index is None or segment is None else index.segments[segment]


def _holds(segment: int | None, index: Container | None, names: tuple[str, ...] | None) -> Holds:
    """Return what tells whether a name of a container's range could have lain in the lost part."""
    if names is not None:
        return frozenset(names).__contains__
    if segment is None or index is None:
        return lambda name: True
    return lambda name: index.could_have_lain(segment, name)


class Salvaged:
    """A backup as far as it is sound, and what lay in its lost parts as far as earlier backups have it.

    Of a secret that could have lain in a lost part, the backup before tells: it has it, or not, or that part
    of it is lost too, and then the one before that one tells.

    Args:
        before: gives the backups before it, newest first. None is asked for as long as nothing is lost.
        told: is told of each part that is lost, when that is found.
    """

    def __init__(
        self,
        backup: Replicated,
        before: Before = (),
        *,
        told: Callable[[LostPart], None] = lambda part: None,
    ) -> None:
        self.newest = Sound(backup, told)
        self._told = told
        self._chain = [self.newest]
        self._before = iter(before)
        self._sources = [backup.manifest]
        self._numbers: dict[str, int] = {}
        self._taken = Numbers()
        self._counts: Counter[int] = Counter()
        self._sought: set[str] | None = set()

    @property
    def manifest(self) -> Manifest:
        return self.newest.manifest

    @property
    def replicated(self) -> Replicated:
        """The backup itself."""
        return self.newest.backup

    @property
    def aside(self) -> tuple[UnreadableEnvelope, ...]:
        """Envelopes that were left aside with nothing in their place."""
        return tuple(envelope for each in self._chain for envelope in each.backup.aside)

    @property
    def failed(self) -> Mapping[str, str]:
        """What was wrong with each place that did not give something whole."""
        return self.replicated.failed

    def readers(self) -> Manifest:
        """Return the manifest with those who can open the backup now."""
        return self.replicated.readers()

    def unlock(self) -> None:
        """Have a wrong key told before anything is begun."""
        self.newest.unlock()

    def secrets(self) -> Iterator[Secret]:
        """Yield every secret that is to be had; memory is bounded by one segment."""
        for entry in self.manifest.containers:
            yield from self.secrets_in(entry)
        yield from self.instead_of_lost()

    def secrets_in(self, entry: ContainerEntry) -> Iterator[Secret]:
        """Yield every secret of one container that is to be had; all containers are asked for."""
        self._sought = None
        return self.newest.secrets_in(entry)

    def instead_of_lost(self) -> Iterator[Secret]:
        """Yield, once all containers were read, what earlier backups have of what is lost of them."""
        self._sought = None
        for number, older in self._older():
            here = (row.name for row in older.rows() if self._is_of(row.name, number))
            for batch in batches(here):
                yield from self._take(older, batch)

    def rows(self) -> Iterator[Listed]:
        """Yield the metadata of every secret of which it is to be had."""
        self._sought = None
        yield from self.newest.rows()
        for number, older in self._older():
            for row in older.rows():
                if self._is_of(row.name, number):
                    self.came_from(row.name, older.manifest)
                    yield row

    def some(self, names: Collection[str]) -> Iterator[Secret]:
        """Yield those of the named secrets that are to be had."""
        yield from self.newest.some(names)
        self._note_sought(names)
        for number, older in self._older():
            if here := [name for name in names if self._is_of(name, number)]:
                yield from self._take(older, here)

    def planned(self, taken: Iterable[tuple[str, str]]) -> Iterator[Secret]:
        """Yield secrets, each from the backup that a plan takes it from: of what is lost since, nothing.

        Args:
            taken: names, each with the earlier backup that it is from, or nothing if it is of this one.
        """
        by_backup: dict[str, list[str]] = {}
        for name, backup in taken:
            by_backup.setdefault(backup, []).append(name)
        own = by_backup.pop("", [])
        yield from self.newest.some(own)
        self._note_sought(own)
        for number in count(1):
            if not by_backup or (older := self._at(number)) is None:
                return
            yield from self._take(older, by_backup.pop(older.manifest.backup_id, []))

    def find(self, name: str) -> Secret | None:
        """Return one secret, or ``None``."""
        return next(self.some([name]), None)

    def name_key(self) -> bytes:
        return self.replicated.name_key()

    def came_from(self, name: str, manifest: Manifest) -> None:
        """Note that a secret is taken from an earlier backup, if this one would give it were it whole."""
        if not self.newest.could_have_lain(name):
            return
        number = self._numbers.setdefault(manifest.backup_id, len(self._sources))
        if number == len(self._sources):
            self._sources.append(manifest)
        self._counts[number] += self._taken.get(name) is None
        self._taken.set(name, number)

    def backup_of(self, name: str) -> str:
        """Return the earlier backup that a secret came from; empty if this one gave it."""
        number = self._taken.get(name)
        return "" if number is None else self._sources[number].backup_id

    def stands_in(self, name: str) -> bool:
        """Tell whether a secret came from an earlier backup because its part of this one is lost."""
        return self._taken.get(name) is not None

    def source_of(self, name: str) -> Manifest:
        """Return the manifest of the backup that a secret came from."""
        return self._sources[self._taken.get(name) or 0]

    def earlier(self) -> list[Manifest]:
        """Return the manifests of the earlier backups that something came from."""
        return self._sources[1:]

    @property
    def first(self) -> StrongroomError | None:
        """The first loss; nothing if all is sound that was read."""
        return self.newest.first

    @property
    def lost(self) -> LostParts | None:
        """What could not be read of it, and what came instead, so far."""
        parts = tuple(self.newest.lost)
        if not parts:
            return None
        known = [name for part in parts for name in part.names or ()]
        unknown = sum(part.secrets for part in parts if part.names is None)
        if self._sought is not None:  # no more was asked for
            known, unknown = sorted(self._sought), 0
        names = tuple(name for name in known if self._taken.get(name) is None)
        came = self._counts.total() - (len(known) - len(names))
        return LostParts(
            backup=self.manifest.backup_id,
            created_at=self.manifest.created_at,
            parts=parts,
            secrets=len(known) + unknown,
            taken=tuple(self._groups()),
            names=names,
            nameless=max(0, unknown - came),
        )

    def error(self) -> StrongroomError | None:
        """Return how whoever hands out this backup ends: with the class of the first loss."""
        if self.first is None or (lost := self.lost) is None:
            return None
        return type(self.first)(lost.said, hint=_HINT.format(backup=lost.backup))

    def _groups(self) -> Iterator[TakenFrom]:
        for number, secrets in sorted(self._counts.items()):
            manifest = self._sources[number]
            yield TakenFrom(backup=manifest.backup_id, created_at=manifest.created_at, secrets=secrets)

    def _older(self) -> Iterator[tuple[int, Sound]]:
        """Yield the backups before it, as long as something of the one before in this row is lost."""
        for number in count(1):
            if not self._chain[number - 1].lost or (older := self._at(number)) is None:
                return
            yield number, older

    def _at(self, number: int) -> Sound | None:
        """Return a backup of the row, the next one opened now; ``None`` if there is none."""
        if number == len(self._chain):
            opened = islice(self._before, 1)
            self._chain += [Sound(spread, self._told, must_open=False) for spread in opened]
        return self._chain[number] if number < len(self._chain) else None

    def _note_sought(self, names: Iterable[str]) -> None:
        """Keep which names were asked for and are lost, as long as not all were asked for."""
        if self._sought is not None:
            self._sought.update(name for name in names if self.newest.could_have_lain(name))

    def _is_of(self, name: str, number: int) -> bool:
        """Tell whether a name could have lain in what is lost of all backups after one of the row."""
        return all(newer.could_have_lain(name) for newer in self._chain[:number])

    def _take(self, older: Sound, names: Sequence[str]) -> Iterator[Secret]:
        for secret in older.some(names):
            self.came_from(secret.name, older.manifest)
            yield secret


def before_in(backup: Backup, *, trusted: frozenset[str]) -> Iterator[Replicated]:
    """Yield the backups in the same place, such as a file, that tell of the lost parts of one there."""
    chooser = Chooser([BackupPlace("", lambda: backup.objects)], trusted=trusted)
    for choice in chooser.before(backup.manifest, Asked()):
        yield Replicated(choice, backup.identities, trusted=trusted, told=chooser.note)


_HINT = (
    "All that can be read is given. Another copy may be whole: --from-target TARGET reads that one. On the "
    "installation's own host 'strongroom backups replicas {backup}' says where copies lie, and 'strongroom "
    "backups repair "
    "{backup}' mends from them. Then repeat."
)
