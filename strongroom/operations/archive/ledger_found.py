"""Signed heads of ledgers as they lie on a target: by name anybody's, and somebody's once read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from operator import attrgetter

from msgspec import Struct

from strongroom.container.certificate import require_listed
from strongroom.container.errors import FormatError
from strongroom.container.head import MOST, LedgerHead, open_head
from strongroom.errors import TargetError
from strongroom.operations.archive.read_on import LOOKED_THROUGH, read_on
from strongroom.operations.errors import TargetUnsound
from strongroom.targets import Target
from strongroom.targets.repaired import Objects

PREFIX = "ledger/"
_NAME = re.compile(PREFIX + r"([0-9a-f]{16})/([0-9]{4}-[0-9]{2})/([0-9]{12})-([0-9a-f]{16})\.json")
SHOWN = 16
TRIED = 100
"""How many names of a ledger are read in vain by who compares the record with them, every hour."""

STRANGERS = (
    "Somebody who may write there left them, or another installation keeps its record there: see 'The record "
    "of events is not what was published' in docs/how-to/symptoms.md."
)


class Seen(Struct, frozen=True, kw_only=True, order=True):
    """A name on a target, taken apart. It may be anybody's: only what is read and signed counts."""

    ledger: str
    month: str
    event: int
    digits: str
    name: str


class Strangers(TargetError):
    """Names like heads that nobody signed who is trusted here are too many to be read."""


def name_of(head: LedgerHead) -> str:
    """Return a head's name on every target."""
    folder = f"{PREFIX}{head.ledger[:SHOWN]}/{head.made_at[:7]}"
    return f"{folder}/{head.event:012}-{head.sha256[:SHOWN]}.json"


def list_heads(target: Objects, prefix: str = PREFIX) -> list[Seen]:
    """Return what is named like a head and may be one by its size, the newest first within a ledger."""
    named = (info.name for info in target.list(prefix) if 0 < info.size <= MOST)
    matches = [match for name in named if (match := _NAME.fullmatch(name))]
    made = [
        Seen(ledger=one[1], month=one[2], event=int(one[3]), digits=one[4], name=one[0]) for one in matches
    ]
    return sorted(made, reverse=True)


def is_of(one: Seen, ledger: str) -> bool:
    """Tell whether a name is that of a head of this ledger."""
    return one.ledger == ledger[:SHOWN]


def signed(target: Objects, name: str, trusted: frozenset[str]) -> LedgerHead | None:
    """Return the head of a name, or ``None`` if nobody who is trusted here signed one of that name.

    Raises:
        TargetError: it could not be read.
        TrustListMissing: it states a newer trust list than any that was found.
    """
    try:
        head, certificate = open_head(b"".join(target.read(name, length=MOST + 1)), trusted=trusted)
    except FormatError:
        return None
    if name_of(head) != name:
        return None
    require_listed(certificate, head.trust, trusted)
    return head


def first_signed(target: Target, named: Iterable[Seen], trusted: frozenset[str]) -> LedgerHead | None:
    """Return the first head among names of one ledger that somebody trusted signed; ``None`` if nobody did.

    Raises:
        Strangers: none of the first ones is, and there are more.
    """
    for tries, one in enumerate(named):
        if tries == TRIED:
            raise Strangers(
                f"{TRIED} names of record {one.ledger} on target '{target.name}' are of nothing that anybody "
                "signed who is trusted here, and there are more: what lies below them was not read."
            )
        if head := signed(target, one.name, trusted):
            return head
    return None


def newest_of_each(
    target: Target, named: Iterable[Seen], trusted: frozenset[str], known: Collection[str] = ()
) -> Iterator[LedgerHead]:
    """Yield the newest signed head of each ledger among names as :func:`list_heads` gives them.

    Args:
        known: ledgers whose heads may be signed by whomever.

    Raises:
        Strangers: as :func:`first_signed` does; or there are too many ledgers.
    """
    for number, (ledger, of_one) in enumerate(groupby(named, key=attrgetter("ledger"))):
        if number == TRIED:
            raise Strangers(f"There are names of more than {TRIED} records on target '{target.name}'.")
        try:
            head = first_signed(target, of_one, trusted)
        except Strangers as error:
            if any(ledger == one[:SHOWN] for one in known):
                continue
            again = f"'strongroom ledger check --targets --known {ledger}'"
            raise Strangers(f"{error.message} If another installation keeps it: {again}.") from None
        if head is not None:
            yield head


def newest_signed(
    objects: Objects, trusted: frozenset[str], *, ledger: str = "", months: Collection[str] = ()
) -> list[LedgerHead]:
    """Return the newest signed head of each ledger on a place, however many names hide it.

    Args:
        ledger: the one that is kept here. If it has a head of one of these ``months``, no other counts.

    Raises:
        TargetUnsound: there are more names than are read.
        TargetError: the place does not answer.
    """
    for month in months:
        if found := _first_of_all(
            objects, list_heads(objects, f"{PREFIX}{ledger[:SHOWN]}/{month}/"), trusted
        ):
            return [found]
    named = list_heads(objects)
    heads = (
        _first_of_all(objects, list(of_one), trusted) for _, of_one in groupby(named, attrgetter("ledger"))
    )
    return [head for head in heads if head is not None]


def _first_of_all(objects: Objects, named: list[Seen], trusted: frozenset[str]) -> LedgerHead | None:
    for _, head in read_on(named[:LOOKED_THROUGH], lambda one: signed(objects, one.name, trusted)):
        if head is not None:
            return head
    if len(named) > LOOKED_THROUGH:
        raise TargetUnsound(
            f"{PREFIX}{named[0].ledger}/: {len(named):,} objects pose as heads of a ledger there, too many "
            "to look for a true one among them"
        )
    return None
