"""Signed heads of the ledger on the targets: what was cut off or made anew shows without any paper.

Whoever writes to the state database can make its chain of events anew. They cannot take back the heads
that lie elsewhere, signed and, where a target locks, locked. A name says what it stands for::

    ledger/<16 digits of the ledger>/<year>-<month>/<event, 12 digits>-<16 digits of its digest>.json
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count, groupby
from operator import attrgetter

from msgspec import Struct

from strongroom.container.head import MOST, LedgerHead, parse_head, sign_head
from strongroom.errors import FormatError, LedgerChanged, LedgerCut, StrongroomError
from strongroom.evidence.accesses import take
from strongroom.operations.ledger import BEFORE_ALL, leads_on
from strongroom.operations.services import Services
from strongroom.operations.times import rfc3339
from strongroom.state.store import RunStore
from strongroom.targets import Target, locks

PREFIX = "ledger/"
KEPT = timedelta(days=366)
"""For how long a head is locked where a target locks."""

_NAME = re.compile(PREFIX + r"([0-9a-f]{16})/([0-9]{4}-[0-9]{2})/([0-9]{12})-([0-9a-f]{16})\.json")
_SHOWN = 16
TRIED = 100
"""How many names are looked into in vain: whoever may write to a target can leave any number."""


class Seen(Struct, frozen=True, kw_only=True, order=True):
    """A name on a target, taken apart. It may be anybody's: only what is read and signed counts."""

    ledger: str
    month: str
    event: int
    digits: str
    name: str


class Placed(Struct, frozen=True, kw_only=True):
    """What became of a head on one target.

    ``follows`` is the newest head there of another ledger, if this is the first of its own.
    ``missed`` says why there is none.
    """

    target: str
    new: bool = False
    follows: LedgerHead | None = None
    missed: str = ""


class Published(Struct, frozen=True, kw_only=True):
    """The head that was put on the targets; ``None`` if nothing has happened yet."""

    head: LedgerHead | None
    places: tuple[Placed, ...] = ()

    @property
    def missed(self) -> dict[str, str]:
        """Which targets lack it, and why."""
        return {place.target: place.missed for place in self.places if place.missed}


def publish(services: Services, targets: Sequence[str]) -> Published:
    """Sign the newest event's digest and put it on targets, if the record leads on from what lies there.

    Safe to call twice, from several hosts: a head that is there already is left. What commands of this host
    opened is put on record first.

    Raises:
        LedgerChanged: an event up to a head that lies on a target, or since, is not what was appended.
        LedgerCut: the record ends before such a head.
    """
    take(services.state_dir, services.store)
    head = _head(services.store)
    if head is None:
        return Published(head=None)
    content = sign_head(head, services.signers("control"))
    with ThreadPoolExecutor(max(1, len(targets))) as pool:
        places = pool.map(lambda name: _place(services, name, head, content), targets)
        return Published(head=head, places=tuple(places))


def _head(store: RunStore) -> LedgerHead | None:
    newest, first = store.newest_link(), store.links(after=BEFORE_ALL, limit=1)
    if newest is None or not first:
        return None
    return LedgerHead(
        ledger=first[0].chain,
        event=newest.id,
        at=rfc3339(newest.at),
        sha256=newest.chain,
        made_at=rfc3339(datetime.now(UTC).timestamp()),
    )


def _place(services: Services, name: str, head: LedgerHead, content: bytes) -> Placed:
    target, trusted = services.target(name), services.signer_fingerprints
    try:
        before = _newest_own(target, head, trusted)
        if before is not None:
            leads_on(services.store, number=before.event, sha256=before.sha256)
        if before is not None and before.event == head.event:
            return Placed(target=name)
        follows = None if before else _other(target, head, trusted)
        put(target, head, content)
    except (LedgerChanged, LedgerCut):
        raise
    except StrongroomError as error:  # that target's own trouble, and no other's
        return Placed(target=name, missed=error.message)
    return Placed(target=name, new=True, follows=follows)


def put(target: Target, head: LedgerHead, content: bytes) -> None:
    """Put a signed head where it belongs, and lock it where the target locks."""
    name = name_of(head)
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
    if locks(target):
        target.extend_lock(name, datetime.now(UTC) + KEPT)


def name_of(head: LedgerHead) -> str:
    """Return a head's name on every target."""
    folder = f"{PREFIX}{head.ledger[:_SHOWN]}/{head.made_at[:7]}"
    return f"{folder}/{head.event:012}-{head.sha256[:_SHOWN]}.json"


# -- what lies on a target -------------------------------------------------------


def seen(target: Target, prefix: str = PREFIX) -> list[Seen]:
    """Return what is named like a head, the newest first within a ledger."""
    found = [match for info in target.list(prefix) if (match := _NAME.fullmatch(info.name))]
    made = [Seen(ledger=one[1], month=one[2], event=int(one[3]), digits=one[4], name=one[0]) for one in found]
    return sorted(made, reverse=True)


def is_of(one: Seen, ledger: str) -> bool:
    """Tell whether a name is that of a head of this ledger."""
    return one.ledger == ledger[:_SHOWN]


def signed(target: Target, one: Seen, trusted: frozenset[str]) -> LedgerHead | None:
    """Return the head of a name, or ``None`` if nobody who is trusted here signed one of that name.

    Raises:
        TargetError: it could not be read.
    """
    try:
        head = parse_head(b"".join(target.read(one.name, length=MOST + 1)), trusted=trusted)
    except FormatError:
        return None
    return head if name_of(head) == one.name else None


def newest_of_each(target: Target, named: Iterable[Seen], trusted: frozenset[str]) -> Iterator[LedgerHead]:
    """Yield the newest signed head of each ledger among these names; they come as :func:`seen` gives them."""
    tries = count(1)
    for _, of_one in groupby(named, key=attrgetter("ledger")):
        for one in of_one:
            if head := signed(target, one, trusted):
                yield head
                break
            if next(tries) == TRIED:
                return


def _newest_own(target: Target, head: LedgerHead, trusted: frozenset[str]) -> LedgerHead | None:
    """Return the newest head of this ledger on a target, of this month or the one before."""
    month = datetime.fromisoformat(head.made_at).replace(day=1)
    for moment in (month, month - timedelta(days=1)):
        named = seen(target, f"{PREFIX}{head.ledger[:_SHOWN]}/{moment:%Y-%m}/")
        if found := next(newest_of_each(target, named, trusted), None):
            return found
    return None


def _other(target: Target, head: LedgerHead, trusted: frozenset[str]) -> LedgerHead | None:
    """Return the newest head of any other ledger on a target."""
    named = [one for one in seen(target) if not is_of(one, head.ledger)]
    found = newest_of_each(target, named, trusted)
    return max(found, key=attrgetter("made_at"), default=None)
