"""What the signed heads on a place know to lie there: each policy's newest backup, and how far marks go.

Whoever reads compares it with what is there: who deletes the newest backup, or a mark, has to take back a
signed head too, on every target, and the hour's next one tells all the same (FORMAT.md, section 11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from strongroom.container.head import MOST_MARKED, MOST_POLICIES, LedgerHead
from strongroom.container.marks import QUARANTINE
from strongroom.errors import StrongroomError
from strongroom.operations.archive.ledger_found import newest_signed
from strongroom.operations.archive.marks import MarksThere
from strongroom.operations.errors import TargetUnsound
from strongroom.targets.repaired import Objects

if TYPE_CHECKING:  # a restore chooses with this, and loads no database
    from strongroom.state.store import RunStore

LOOKED = 2_000
"""Newest backups on record of which the newest of each policy and place is told."""
_PAGE = 200


class HeadKnowledge(Struct, frozen=True, kw_only=True):
    """The newest backup of each policy, and the highest quarantine mark of each backup, that heads name."""

    backups: Mapping[str, str] = {}
    marks: Mapping[str, int] = {}


def merged(heads: Iterable[LedgerHead | HeadKnowledge]) -> HeadKnowledge:
    """Return what several heads know together: none takes back what another one says."""
    backups: dict[str, str] = {}
    marks: dict[str, int] = {}
    for head in heads:
        backups |= {policy: max(one, backups.get(policy, "")) for policy, one in head.backups.items()}
        marks |= {backup: max(number, marks.get(backup, 0)) for backup, number in head.marks.items()}
    return HeadKnowledge(backups=backups, marks=marks)


def known_on(objects: Objects, trusted: frozenset[str], *, ledger: str = "") -> HeadKnowledge:
    """Return what the newest head of each ledger on a place knows.

    Args:
        ledger: the one that is kept here, if there is one: its newest head is enough, and found at once.

    Raises:
        TargetUnsound: it could not be looked through.
        TargetError: the place does not answer.
    """
    return merged(newest_signed(objects, trusted, ledger=ledger, months=_months() if ledger else ()))


def _months() -> list[str]:
    """Return this month and the one before, as the names of heads have them."""
    first = datetime.now(UTC).replace(day=1)
    return [f"{one:%Y-%m}" for one in (first, first - timedelta(days=1))]


def newest_by_place(store: RunStore) -> Mapping[str, Mapping[str, str]]:
    """Return the newest backup on record of each policy, by the place that was to hold it."""
    active = {run.id for run in store.active()}
    entries = iter([one for one in store.backups(limit=LOOKED) if one.backup not in active])
    found: dict[str, dict[str, str]] = {}
    while page := list(islice(entries, _PAGE)):
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
        there = MarksThere(objects, QUARANTINE, trusted=trusted)
        for backup in there.folders:
            if max(there.names(backup)) > QUARANTINE.object_name(backup, before.get(backup, 0)):
                with suppress(TargetUnsound):
                    mark = there.newest(backup)
                    yield from [(backup, mark.number)] if mark is not None else ()
