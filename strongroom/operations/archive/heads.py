"""Signed heads of ledgers as they lie on a target, and what they know to lie there.

By its name a head is anybody's, and somebody's once read. Whoever reads a place compares what its heads say,
each policy's newest backup and how far marks go, with what is there: who deletes the newest backup, or a
mark, has to take back a signed head too, on every target, and the hour's next one tells all the same
(FORMAT.md, section 11).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from strongroom.container.marks import HEAD, MOST_MARKED, MOST_POLICIES, QUARANTINE, SHOWN, LedgerHead
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import ObjectInfo
from strongroom.operations.engine.statements import LOOKED_THROUGH, StatementsOn, TooMany
from strongroom.operations.errors import TargetUnsound
from strongroom.system.lazy import batched
from strongroom.targets.reading import Objects

if TYPE_CHECKING:  # a restore chooses with this, and loads no database
    from strongroom.state.store import RunStore

TRIED = 100
"""How many names of a ledger are read in vain by who compares the record with them, every hour."""
LOOKED = 2_000
"""Newest backups on record of which the newest of each policy and place is told."""
_PAGE = 200
_NAME = re.compile(re.escape(HEAD.prefix) + HEAD.pattern)

STRANGERS = (
    "Somebody who may write there left them, or another installation keeps its record there: see 'The ledger "
    "is not what was published' in docs/how-to/symptoms.md."
)


class Strangers(TargetError):
    """Names like heads that nobody signed who is trusted here are too many to be read."""


class HeadName(Struct, frozen=True, kw_only=True):
    """A name on a target, taken apart. It may be anybody's: only what is read and signed counts."""

    ledger: str
    event: int
    digits: str
    info: ObjectInfo


class HeadsOn(StatementsOn[LedgerHead]):
    """What is named like a head on a place, and may be one by its size.

    Args:
        month: of the ledger in ``folder``, what alone is listed.

    Raises:
        TargetError: the place does not answer.
    """

    def __init__(
        self, objects: Objects, trusted: frozenset[str], *, ledger: str = "", month: str = ""
    ) -> None:
        folder = f"{ledger[:SHOWN]}/{month}" if ledger else ""
        super().__init__(objects, HEAD, trusted=trusted, folder=folder)
        self._place = f"target '{getattr(objects, 'name', '')}'"

    def named(self) -> Iterator[HeadName]:
        """Yield all names, the newest of each ledger first."""
        for ledger in self.folders:
            for info in self.fitting(ledger):
                parts = _NAME.fullmatch(info.name)
                assert parts is not None
                yield HeadName(ledger=ledger, event=int(parts[3]), digits=parts[4], info=info)

    def newest_of(self, ledger: str) -> LedgerHead | None:
        """Return the newest head of a ledger that somebody trusted signed, however many names hide it.

        Raises:
            TargetUnsound: there are more names than are read.
            TargetError: the place does not answer.
        """
        try:
            return self.first(self.fitting(ledger[:SHOWN]), most=LOOKED_THROUGH)
        except TooMany as error:
            raise TargetUnsound(
                f"{HEAD.prefix}{ledger[:SHOWN]}/: {error.names:,} objects pose as heads of a ledger there, "
                "too many to look for a true one among them"
            ) from None

    def first_signed(self, ledger: str, infos: Sequence[ObjectInfo] | None = None) -> LedgerHead | None:
        """Return the newest head of a ledger that somebody trusted signed; ``None`` if nobody did.

        Args:
            infos: the names that are asked; all, if not given.

        Raises:
            Strangers: none of the first ones is, and there are more.
        """
        try:
            return self.first(self.fitting(ledger[:SHOWN]) if infos is None else infos, most=TRIED)
        except TooMany:
            raise Strangers(
                f"{TRIED} names of record {ledger[:SHOWN]} on {self._place} are of nothing that anybody "
                "signed who is trusted here, and there are more: what lies below them was not read."
            ) from None

    def newest_of_others(self, ledger: str, known: Collection[str] = ()) -> Iterator[LedgerHead]:
        """Yield the newest signed head of each other ledger.

        Args:
            known: ledgers whose heads may be signed by whomever.

        Raises:
            Strangers: as :meth:`first_signed` does; or there are too many ledgers.
        """
        others = sorted((folder for folder in self.folders if folder != ledger[:SHOWN]), reverse=True)
        for number, other in enumerate(filter(self.fitting, others)):
            if number == TRIED:
                raise Strangers(f"There are names of more than {TRIED} records on {self._place}.")
            try:
                head = self.first_signed(other)
            except Strangers as error:
                if any(other == known_ledger[:SHOWN] for known_ledger in known):
                    continue
                again = f"'strongroom ledger check --targets --known {other}'"
                raise Strangers(f"{error.message} If another installation keeps it: {again}.") from None
            if head is not None:
                yield head


# -- what they know --------------------------------------------------------------------------------


class HeadKnowledge(Struct, frozen=True, kw_only=True):
    """The newest backup of each policy, and the highest quarantine mark of each backup, that heads name."""

    backups: Mapping[str, str] = {}
    marks: Mapping[str, int] = {}


def merged(heads: Iterable[LedgerHead | HeadKnowledge]) -> HeadKnowledge:
    """Return what several heads know together: none takes back what another one says."""
    backups: dict[str, str] = {}
    marks: dict[str, int] = {}
    for head in heads:
        backups |= {policy: max(backup, backups.get(policy, "")) for policy, backup in head.backups.items()}
        marks |= {backup: max(number, marks.get(backup, 0)) for backup, number in head.marks.items()}
    return HeadKnowledge(backups=backups, marks=marks)


def months(now: datetime) -> list[str]:
    """Return this month and the one before, as the names of heads have them."""
    first = now.replace(day=1)
    return [f"{day:%Y-%m}" for day in (first, first - timedelta(days=1))]


def known_on(objects: Objects, trusted: frozenset[str], *, ledger: str = "") -> HeadKnowledge:
    """Return what the newest head of each ledger on a place knows.

    Args:
        ledger: the one that is kept here, if there is one: its newest head is enough, and found at once.

    Raises:
        TargetUnsound: it could not be looked through.
        TargetError: the place does not answer.
    """
    for month in months(datetime.now(UTC)) if ledger else ():
        if own := HeadsOn(objects, trusted, ledger=ledger, month=month).newest_of(ledger):
            return merged([own])
    there = HeadsOn(objects, trusted)
    return merged(head for folder in there.folders if (head := there.newest_of(folder)) is not None)


def newest_by_place(store: RunStore) -> Mapping[str, Mapping[str, str]]:
    """Return the newest backup on record of each policy, by the place that was to hold it."""
    active = {run.id for run in store.active()}
    entries = [
        catalog_entry for catalog_entry in store.backups(limit=LOOKED) if catalog_entry.backup not in active
    ]
    found: dict[str, dict[str, str]] = {}
    for page in batched(entries, _PAGE):
        replicas = store.replicas_of([entry.backup for entry in page])
        for entry in page:
            for replica in replicas.get(entry.backup, ()):
                of_place = found.setdefault(replica.target, {})
                if entry.policy in of_place or len(of_place) < MOST_POLICIES:
                    of_place[entry.policy] = max(entry.backup, of_place.get(entry.policy, ""))
    return found


def marked(
    places: Iterable[Objects], trusted: frozenset[str], before: Mapping[str, int]
) -> Mapping[str, int]:
    """Return the highest mark of each backup on some places, or of an earlier head; of the newest backups.

    Args:
        before: what an earlier head says. A folder that holds nothing above it is not read again.
    """
    found = dict(before)
    for objects in places:
        for backup, number in _marks_on(objects, trusted, before):
            found[backup] = max(number, found.get(backup, 0))
    return {backup: found[backup] for backup in sorted(found)[-MOST_MARKED:]}


def _marks_on(
    objects: Objects, trusted: frozenset[str], before: Mapping[str, int]
) -> Iterable[tuple[str, int]]:
    with suppress(StrongroomError):  # one that is away tells of its marks when it is back
        there = StatementsOn(objects, QUARANTINE, trusted=trusted)
        for backup in there.folders:
            if max(there.names(backup)) > QUARANTINE.object_name(backup, before.get(backup, 0)):
                with suppress(TargetUnsound):
                    mark = there.newest(backup)
                    yield from [(backup, mark.number)] if mark is not None else ()
