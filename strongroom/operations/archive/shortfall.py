"""What a backup lacks of what is known: which secrets earlier ones had, which has them, and why it matters.

A backup that is made after the damage is as sound as any other, and brings back less. So whoever takes one
holds it against those before it: by the indexes of names where they open, else by the names in the backups,
else by the counts in their manifests. All of it lies on the targets, so it is known on a bare machine too.
Memory is bounded by a block of each index, and by what is named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import cached_property
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter

from msgspec import Struct, convert
from msgspec.structs import replace

from strongroom.container.errors import WrongKey
from strongroom.container.manifest import Manifest
from strongroom.container.marks import HOLD, HoldMark
from strongroom.container.name_index import (
    GONE,
    IndexRow,
    NameIndex,
    decode_row,
    encode_row,
    quoted_name,
)
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.model import ListedSecret, Selection, VersionState, prepare
from strongroom.operations.archive.coverage import (
    AHEAD_OF_HERE,
    Asked,
    BackupChoice,
    lacks,
    limits_of,
    made_at,
)
from strongroom.operations.archive.holds import standing_holds
from strongroom.operations.archive.index_files import Indexes, is_of
from strongroom.operations.archive.live_comparison import FLOOR, REMEMBERED, Numbers
from strongroom.operations.archive.open import Listed
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.engine.statements import StatementsOn, merge_newest
from strongroom.operations.errors import LessThanKnown
from strongroom.sources.batches import matches
from strongroom.words import plural, verb

NAMED = 5
"""Missing secrets that are named in text; all are in the plan and in JSON."""
LEAST = 3
"""Earlier backups of a kind that are looked at however old they are: a policy of once a month has no younger
one, and those of every week beside it are of less."""
MOST = 200
"""Earlier backups that are looked at, by their manifests."""
FEW = 32
"""Secrets left out by an index that are looked for in the backup one by one; of more, all names are read."""
OPENED = 2
"""Earlier backups that are read themselves where no index tells what they held."""
_SOUND = re.compile(r"of the [\d,]+ secrets? of backup (\S+)$")
"""How the reason of a hold ends that a mass change placed: with the last backup that was sound."""


class Why(StrEnum):
    """Why a backup is not to be taken for all there is."""

    SHRUNK = "shrunk"
    MASS_CHANGE = "mass-change"
    DAMAGED = "damaged"
    LOST = "lost"
    AHEAD = "ahead"


class BackupDoubt(Struct, frozen=True, kw_only=True):
    """Something that speaks against a backup. ``sound`` is the backup to take instead, if one is known.

    ``fillable``: it is about secrets that are missing alone, so earlier backups make up for it.
    """

    why: Why
    said: str
    sound: str = ""
    fillable: bool = False


class MissingSecret(Struct, frozen=True, kw_only=True):
    """A secret that a backup lacks: the newest backup that has it, and the date and version it has there."""

    name: str
    backup: str
    policy: str
    created_at: str
    version: int
    written_at: str | None


class HoldingBackup(Struct, frozen=True, kw_only=True):
    """An earlier backup, and of how many of the missing secrets it has the newest value."""

    backup: str
    policy: str
    created_at: str
    secrets: int


class Shortfall(Struct, frozen=True, kw_only=True):
    """What a backup lacks.

    Args:
        holds: how many secrets it has.
        missing: how many it lacks of what was asked for; at least so many, unless ``by_name``.
        groups: the earlier backups that have them, that with the most first.
        names: the first few of them; none where no name may go.
        findings: what makes it more than secrets which somebody deleted since.
        compared: how many earlier backups it was held against.
        unread: why nothing names what is missing, if an earlier backup did not open.
    """

    backup: str
    policy: str
    created_at: str
    holds: int
    missing: int = 0
    groups: tuple[HoldingBackup, ...] = ()
    names: tuple[MissingSecret, ...] = ()
    findings: tuple[BackupDoubt, ...] = ()
    compared: int = 0
    by_name: bool = True
    unread: str = ""

    @property
    def sound(self) -> str:
        """The backup to take instead, if one is known."""
        return next((doubt.sound for doubt in self.findings if doubt.sound), "")

    def lines(self) -> Iterator[str]:
        """Say it, the worst first; nothing if nothing is missing and nothing speaks against it."""
        yield from (doubt.said for doubt in self.findings)
        if self.missing:
            yield from self._missing()

    def _missing(self) -> Iterator[str]:
        count = plural(self.missing, "secret")
        if not self.by_name:
            why = f". Which, is not known: {self.unread}" if self.unread else ""
            yield f"it holds {plural(self.holds, 'secret')}, and an earlier one {count} more{why}"
            return
        since = "" if self.findings else ": deleted since, by all that is known"
        yield f"{count} that earlier ones have {verb(self.missing, 'are')} not in it{since}{self._named()}"
        for group in self.groups[:NAMED]:
            whose = f"backup {group.backup} of policy '{group.policy}', made {group.created_at}"
            yield f"  {group.secrets:,} of them {verb(group.secrets, 'are')} in {whose}"

    def _named(self) -> str:
        if not self.names:
            return ""
        more = self.missing - len(self.names)
        named = ", ".join(f"'{missing_secret.name}'" for missing_secret in self.names)
        return f": {named}" + (f" and {more:,} more" if more else "")

    @property
    def nameless(self) -> Shortfall | None:
        """The same without the name of a secret, for what leaves the host; ``None`` if it says nothing."""
        return replace(self, names=()) if self.missing or self.findings else None

    def error(self, *, filled: bool = False) -> LessThanKnown | None:
        """Return how whoever takes this backup for everything ends; nothing for secrets that were deleted.

        Args:
            filled: what is missing is taken from earlier backups.
        """
        why = self.why(filled=filled)
        return LessThanKnown(f"Backup {self.backup} is not all that is known: {why}.") if why else None

    def why(self, *, filled: bool = False) -> str:
        """Say why it is not to be taken for everything; nothing if secrets were deleted since."""
        findings = [doubt for doubt in self.findings if not (filled and doubt.fillable)]
        if not findings:
            return ""
        if filled or not self.missing:
            return findings[0].said
        count = f"{plural(self.missing, 'secret')} of earlier ones {verb(self.missing, 'are')}"
        return f"{findings[0].said}; {count} not in it"


prepare(MissingSecret, HoldingBackup, BackupDoubt, Shortfall)

Open = Callable[[BackupChoice], Replicated]
_Row = tuple[bytes, str, IndexRow]
"""The quoted name of a secret, the newest backup that has it, and what it says of it."""


class Earlier:
    """The backups before one, and what they had that it lacks.

    Args:
        choice: the backup that was chosen.
        asked: what of it: everything, a category, or names by its selection.
        chooser: has the places.
        identities: open the indexes of names.
        trusted: whose indexes and envelopes count.
        opened: opens a backup, which goes on record; without it counts alone are compared.
        held: what this installation's record says of holds, by folder.
    """

    def __init__(
        self,
        choice: BackupChoice,
        asked: Asked,
        chooser: Chooser,
        *,
        identities: Sequence[Opener],
        trusted: frozenset[str],
        opened: Open | None,
        held: Mapping[str, HoldMark] | None = None,
    ) -> None:
        self.choice = choice
        self._asked = asked
        self._chooser = chooser
        self._identities = identities
        self._trusted = trusted
        self._open = opened
        self._held = held or {}
        self._all = list(self._before())
        self.choices = {
            backup_choice.manifest.backup_id: backup_choice
            for backup_choice in self._all
            if asked.use_quarantined or not backup_choice.quarantine
        }
        self._read: _Names | None = None

    def _before(self) -> Iterator[BackupChoice]:
        since = made_at(self.choice.manifest) - REMEMBERED
        looked: Counter[str] = Counter()
        for choice in islice(self._chooser.earlier(self.choice.manifest), MOST):
            kind = limits_of(choice.manifest)
            if looked[kind] < LEAST or made_at(choice.manifest) >= since:
                looked[kind] += 1
                yield choice

    def shortfall(self) -> Shortfall:
        """Return what the backup lacks."""
        manifest = self.choice.manifest
        if self._asked.name:  # which backup has it, whoever looks for it finds out
            return self._of_one()
        counted, unread = None, ""
        try:
            counted = self._counted()
        except StrongroomError as error:  # what does not open names nothing
            unread = f"{error.code}: {error.message}"
        fewer = max(0, self._most() - manifest.counts.secrets) if counted is None else 0
        return Shortfall(
            backup=manifest.backup_id,
            policy=manifest.policy,
            created_at=manifest.created_at,
            holds=manifest.counts.secrets,
            missing=fewer if counted is None else counted[0].total(),
            groups=() if counted is None else tuple(self._groups(counted[0])),
            names=() if counted is None else counted[1],
            findings=self.findings(),
            compared=len(self.choices),
            by_name=counted is not None,
            unread=unread,
        )

    def findings(self) -> tuple[BackupDoubt, ...]:
        """Return what speaks against the backup, by its manifest and those before it: nothing is opened."""
        return (*self._mass_changes(), *self._shrunk(), *self._newer())

    def _of_one(self) -> Shortfall:
        manifest = self.choice.manifest
        return Shortfall(
            backup=manifest.backup_id,
            policy=manifest.policy,
            created_at=manifest.created_at,
            holds=manifest.counts.secrets,
            findings=(*self._mass_changes(), *self._newer()),
            compared=len(self.choices),
        )

    def missing(self) -> Iterator[MissingSecret]:
        """Yield every secret that the backup lacks, by name: they are looked for anew each time.

        Raises:
            StrongroomError: nothing opens here that tells.
        """
        for row, backup in self._names.lacking():
            manifest = self.choices[backup].manifest
            yield MissingSecret(
                name=row.name,
                backup=backup,
                policy=manifest.policy,
                created_at=manifest.created_at,
                version=row.version,
                written_at=row.written_at,
            )

    def before(self) -> BackupChoice | None:
        """Return the newest of them that covers what is asked for, as far as its manifest says."""
        asked = replace(self._asked, backup="")
        return next((choice for choice in self.choices.values() if not lacks(choice.manifest, asked)), None)

    def open(self, backup: str) -> Replicated:
        """Open one of the earlier backups."""
        assert self._open is not None  # whoever opens none names none
        with _named(backup):
            replicated = self._open(self.choices[backup])
            replicated.unlock()  # what does not open has begun nothing
        return replicated

    @property
    def _names(self) -> _Names:
        if self._read is None:
            self._read = _Names(self, self._chooser, self._identities, self._trusted, self._asked.selection)
        return self._read

    def holds(self, name: str) -> bool:
        """Tell whether the backup itself has a secret with a value: that costs a ranged read."""
        found = self._own.digested_row(name)
        return found is not None and found[0].versions[-1].state is VersionState.LIVE

    @cached_property
    def _own(self) -> Replicated:
        assert self._open is not None  # whoever opens none names none
        return self._open(self.choice)

    def held_names(self, choice: BackupChoice) -> Iterator[Listed]:
        """Yield what a backup itself says of its secrets."""
        assert self._open is not None
        with _named(choice.manifest.backup_id):
            yield from self._open(choice).rows()

    def _counted(self) -> tuple[Counter[str], tuple[MissingSecret, ...]] | None:
        if self._open is None or not self.choices:
            return None if self.choices else (Counter(), ())
        counts: Counter[str] = Counter()
        first: list[MissingSecret] = []
        for missing_secret in self.missing():
            counts[missing_secret.backup] += 1
            if len(first) < NAMED:
                first.append(missing_secret)
        return counts, tuple(first)

    def _groups(self, counts: Counter[str]) -> Iterator[HoldingBackup]:
        for backup, secrets in counts.most_common():
            manifest = self.choices[backup].manifest
            yield HoldingBackup(
                backup=backup, policy=manifest.policy, created_at=manifest.created_at, secrets=secrets
            )

    # -- what speaks against it ----------------------------------------------------------

    def _alike(self) -> Iterator[Manifest]:
        """Yield the manifests before it that were made of the same, newest first.

        By whichever policy: one can be renamed.
        """
        own = self.choice.manifest
        for choice in self._all:
            by_command = own.policy.startswith("(") or choice.manifest.policy.startswith("(")
            if choice.manifest.selection == own.selection and not by_command:
                yield choice.manifest

    def _most(self) -> int:
        return max((manifest.counts.secrets for manifest in self._alike()), default=0)

    def _shrunk(self) -> Iterator[BackupDoubt]:
        """Say if it holds much less than those before it, as its own run was told (invariant 7)."""
        holds, most = self.choice.manifest.counts.secrets, self._most()
        if holds >= FLOOR * most:
            return
        full, *others = (manifest for manifest in self._alike() if manifest.counts.secrets >= FLOOR * most)
        full = next((manifest for manifest in (full, *others) if manifest.backup_id in self.choices), full)
        said = (
            f"it holds {plural(holds, 'secret')} where {most:,} were expected; backup {full.backup_id}, made "
            f"{full.created_at}, is the last that holds {full.counts.secrets:,}"
        )
        usable = full.backup_id in self.choices
        if not usable:
            said += ". That one is in quarantine, and nothing is taken from it without --use-quarantined"
        yield BackupDoubt(why=Why.SHRUNK, said=said, sound=full.backup_id if usable else "", fillable=usable)

    def _mass_changes(self) -> Iterator[BackupDoubt]:
        """Say if it was made after a mass change that drift found, and that nobody has accepted."""
        own = self.choice.manifest
        for mark in self._holds():
            match = _SOUND.search(mark.reason)
            if match is None or mark.kind != "policy" or own.backup_id <= match[1]:
                continue
            sound = self.choices.get(match[1])
            if mark.subject != own.policy and (sound is None or limits_of(own)):
                continue  # of another source, by all that is seen
            made = f", made {sound.manifest.created_at}," if sound is not None else ""
            what = mark.reason.removeprefix("mass change: ")
            said = (
                f"it was made after a mass change, found at {mark.at} in policy '{mark.subject}' ({what}); "
                f"backup {match[1]}{made} is the last that was found sound"
            )
            yield BackupDoubt(
                why=Why.MASS_CHANGE,
                said=said,
                sound=match[1] if sound is not None else "",
                fillable=" changed" not in what,
            )

    def _holds(self) -> Iterable[HoldMark]:
        places: list[StatementsOn[HoldMark]] = []
        for listing in self._chooser.listings.values():
            with suppress(StrongroomError):  # one that went away says nothing
                places.append(StatementsOn(listing.objects, HOLD, trusted=self._trusted))
        marks = merge_newest(HOLD, (place.all() for place in places)).newest
        return standing_holds(marks, self._held, now=self._chooser.now)

    def _newer(self) -> Iterator[BackupDoubt]:
        """Say which newer backup would have been taken: it is damaged everywhere, dated ahead, or gone."""
        own = self.choice.manifest
        for passed in self._chooser.passed:
            if passed.backup <= own.backup_id or not passed.policy:
                continue
            made = f"backup {passed.backup} of policy '{passed.policy}', made {passed.created_at}, is newer"
            if passed.broken is not None:
                yield BackupDoubt(why=Why.DAMAGED, said=f"{made} and damaged wherever it lies: {passed.why}")
            elif passed.why == AHEAD_OF_HERE:
                yield BackupDoubt(
                    why=Why.AHEAD, said=f"{made} by its date, which is ahead of this host's clock"
                )
        if not self._asked.backup and (lost := self._chooser.lost(self._asked, own)) is not None:
            yield BackupDoubt(why=Why.LOST, said=lost.words)


@contextmanager
def _named(backup: str) -> Iterator[None]:
    """Have it told of which earlier backup a key is missing: the newest one opened."""
    try:
        yield
    except WrongKey as error:
        raise WrongKey(f"Earlier backup {backup}: {error.message}", hint=_ANOTHER_KEY) from None


_ANOTHER_KEY = (
    "Give the key that opens that one too: --identity is repeatable, and 'strongroom keys list' says which "
    "it is. "
    "Without --fill-from-earlier the newest backup alone is restored."
)


# -- names ---------------------------------------------------------------------------------


class _Names:
    """The names in a backup and in those before it, merged in the order of the indexes."""

    def __init__(
        self,
        earlier: Earlier,
        chooser: Chooser,
        identities: Sequence[Opener],
        trusted: frozenset[str],
        selection: Selection,
    ) -> None:
        self._earlier = earlier
        made_of = convert(earlier.choice.manifest.selection, Selection, from_attributes=True)
        self._selections = (selection, made_of)
        self._own = earlier.choice.manifest.backup_id
        chosen = {self._own: earlier.choice, **earlier.choices}
        self._manifests = {backup: choice.manifest for backup, choice in chosen.items()}
        self._lines = list(_lines(chooser, self._manifests, identities, trusted))
        told = frozenset(backup for line in self._lines for backup in line.backups)
        read = self._worth_reading(told)
        needless = self._own in told and not read
        self._has: Numbers | None = None if needless else self._names_of(earlier.choice)
        self._looked_for = 0
        self._others: list[_Row] = sorted(self._unindexed(read), key=itemgetter(0))

    def lacking(self) -> Iterator[tuple[IndexRow, str]]:
        """Yield what the backup lacks, and the newest backup that has it."""
        streams = [*(line.rows() for line in self._lines), iter(self._others)]
        for _, group in groupby(merge(*streams, key=itemgetter(0)), key=itemgetter(0)):
            _, backup, row = max(group, key=itemgetter(1))
            if backup != self._own and self._is_meant(row) and not self._is_held(row.name):
                yield row, backup

    def _is_meant(self, row: IndexRow) -> bool:
        """Tell whether a secret is asked for of such a backup, and had a value: else nothing of it could be
        brought back."""
        item = ListedSecret(row.name, 0, tags=row.tags)
        return row.state is VersionState.LIVE and all(
            matches(selection, item) for selection in self._selections
        )

    def _is_held(self, name: str) -> bool:
        """Tell whether the backup itself has a secret. That it does not, no index is believed."""
        if self._has is None and self._looked_for < FEW:
            self._looked_for += 1
            return self._earlier.holds(name)
        if self._has is None:
            self._has = self._names_of(self._earlier.choice)
        return self._has.get(name) is not None

    def _names_of(self, choice: BackupChoice) -> Numbers:
        numbers = Numbers()
        for listed in self._earlier.held_names(choice):
            if listed.versions[-1].state is VersionState.LIVE:
                numbers.set(listed.name, 1)
        return numbers

    def _unindexed(self, read: Sequence[BackupChoice]) -> Iterator[_Row]:
        """Yield what backups themselves have of what is not held, by the newest of them."""
        numbers = Numbers()
        for choice in read:
            for listed in self._earlier.held_names(choice):
                if self._is_held(listed.name) or numbers.get(listed.name) is not None:
                    continue
                current = listed.versions[-1]
                row = IndexRow(
                    name=listed.name,
                    version=current.number,
                    state=current.state,
                    written_at=current.created_at or listed.updated_at,
                    tags=dict(listed.tags),
                )
                if self._is_meant(row):
                    numbers.set(listed.name, 1)
                    yield quoted_name(encode_row(row)), choice.manifest.backup_id, row

    def _worth_reading(self, told: Collection[str]) -> Sequence[BackupChoice]:
        """Return of the earlier backups that no index tells of the newest, and the one with the most."""
        before = [choice for backup, choice in self._earlier.choices.items() if backup not in told]
        most = max(before, key=lambda choice: choice.manifest.counts.secrets, default=None)
        return [choice for number, choice in enumerate(before) if number < OPENED - 1 or choice is most]


class _IndexChain:
    """Indexes that continue one another, and of which backups that are looked at they are."""

    def __init__(self, line: Sequence[NameIndex], manifests: Mapping[str, Manifest]) -> None:
        self._line = line
        self._of = [
            index.about.backup_id if is_of(index, manifests.get(index.about.backup_id)) else ""
            for index in line
        ]
        self.backups = frozenset(self._of) - {""}

    def rows(self) -> Iterator[_Row]:
        """Yield each secret with the newest of the backups that has it with a value."""
        streams = [_in_order(number, index) for number, index in enumerate(self._line)]
        for name, group in groupby(merge(*streams), key=itemgetter(0)):
            if (held := self._newest([(number, line) for _, number, line in group])) is not None:
                yield name, *held

    def _newest(self, lines: Sequence[tuple[int, bytes]]) -> tuple[str, IndexRow] | None:
        end = len(self._of)
        for number, line in reversed(lines):
            row = decode_row(line)
            if row.version != GONE and row.state is VersionState.LIVE:
                for backup in reversed(self._of[number:end]):
                    if backup:
                        return backup, row
            end = number
        return None


def _in_order(number: int, index: NameIndex) -> Iterator[tuple[bytes, int, bytes]]:
    for block in range(len(index.head.blocks)):
        for line in index.block(block).lines():
            yield quoted_name(line), number, line


def _lines(
    chooser: Chooser, manifests: Mapping[str, Manifest], identities: Sequence[Opener], trusted: frozenset[str]
) -> Iterator[_IndexChain]:
    """Yield lines of indexes that tell of as many of these backups as there are indexes that count."""
    places = {name: listing.objects for name, listing in chooser.listings.items()}
    covered: set[str] = set()
    indexes = Indexes(places, identities, told=_ignored)
    for _, line in indexes.lines(manifests.keys(), trusted=trusted, covered=covered):
        index_chain = _IndexChain(line, manifests)
        covered |= index_chain.backups
        yield index_chain


def _ignored(name: str, error: StrongroomError) -> None:
    """An index that does not count costs time, and tells nothing."""
