"""Signed heads of the ledger on the targets, and the whole ledger held against every one of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.marks import HEAD, SHOWN, LedgerHead
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import Role
from strongroom.operations.archive.heads import (
    HeadName,
    HeadsOn,
    Strangers,
    marked,
    merged,
    months,
    newest_by_place,
)
from strongroom.operations.archive.spread import spread_marks, spread_statements
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.spread import put_lists
from strongroom.operations.engine.statements import KEPT, Counting, judge
from strongroom.operations.evidence.access_log import take
from strongroom.operations.evidence.ledger import BEFORE_ALL, UNLIKE, chain, is_well_formed, leads_on
from strongroom.state.errors import LedgerChanged, LedgerCut, StateError
from strongroom.state.records import RunStep, StepKind
from strongroom.state.store import RunStore
from strongroom.targets import Target, put_whole
from strongroom.times import rfc3339

# -- Signed heads of the ledger on the targets: what was cut off or made anew shows without any paper
#
# Whoever writes to the state database can make its chain of events anew. They cannot take back the heads
# that lie elsewhere, signed and, where a target locks, locked. A name says what it stands for::
#
#     ledger/<16 digits of the ledger>/<year>-<month>/<event, 12 digits>-<16 digits of its digest>.json


class PlacedHead(Struct, frozen=True, kw_only=True):
    """What became of a head on one target.

    ``follows`` is the newest head there of another ledger, if this is the first of its own.
    ``missed`` says why no head was written, ``doubt`` why the record was not compared with the heads there.
    """

    target: str
    new: bool = False
    follows: LedgerHead | None = None
    missed: str = ""
    doubt: str = ""


class PublishedHead(Struct, frozen=True, kw_only=True):
    """The head that was put on the targets; ``None`` if nothing has happened yet.

    ``untaken`` says why what commands of this host opened is not on record.
    """

    head: LedgerHead | None
    places: tuple[PlacedHead, ...] = ()
    untaken: str = ""

    @property
    def missed(self) -> dict[str, str]:
        """Which targets lack it, and why."""
        return {place.target: place.missed for place in self.places if place.missed}


log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())


def put_heads_at_end(step: RunStep, services: Services, backup: str) -> None:
    """Put heads on the targets that hold a backup, once the report of a run that wrote it is on record.

    So a head names it from its first minute on. Who is killed before leaves that to the hourly turn, and
    what fails here changes nothing about the backup: the hourly turn tells that it failed.
    """
    if step.kind is not StepKind.REPORT:
        return
    holding = [replica.target for replica in services.store.replicas(backup) if replica.good]
    if targets := [name for name in holding if name in services.targets]:
        try:
            publish(services, targets, beginning=False)
        except StrongroomError as error:
            log.warning("ledger-head-amiss", extra={"target": ", ".join(targets), "why": error.message})


def publish(services: Services, targets: Sequence[str], *, beginning: bool = True) -> PublishedHead:
    """Sign the newest event's digest and put it on targets, if the record leads on from what lies there.

    Before it go the marks and trust lists that a target lacks: a head tells how far they go. The hourly turn
    brings incidents and recoveries, too.
    Safe to call twice, from several hosts: a head that is there already is left. What commands of this host
    opened is put on record first; where it cannot be, heads are put all the same.

    Args:
        beginning: whether a record may begin beside one that was kept before. Where nobody looks on, it
            does not: who looks next is to see that it began again.

    Raises:
        LedgerChanged: an event up to a head that lies on a target, or since, is not what was appended.
        LedgerCut: the record ends before such a head.
    """
    untaken = _taken(services)
    if beginning:
        spread_statements(services, targets)
    else:
        spread_marks(services, {name: services.target(name) for name in targets})
    signer = services.signers(Role.CONTROL)
    bare = _head(services.store, trust=signer.trust)
    if bare is None:
        return PublishedHead(head=None, untaken=untaken)
    with ThreadPoolExecutor(max(1, len(targets))) as pool:
        found = list(pool.map(lambda name: _found(services, name, bare), targets))
        head = replace(bare, marks=_marks(services, targets, found))
        newest = newest_by_place(services.store)
        heads = [replace(head, backups=newest.get(name, {})) for name in targets]
        places = pool.map(partial(_place, services, beginning=beginning), targets, found, heads)
        return PublishedHead(head=head, places=tuple(places), untaken=untaken)


def _marks(
    services: Services, targets: Sequence[str], found: Sequence[_TargetHeads | str]
) -> Mapping[str, int]:
    """Return how far the quarantine marks of each backup go, on any target: no head takes that back."""
    before = merged(
        heads.own for heads in found if not isinstance(heads, str) and heads.own is not None
    ).marks
    return marked(map(services.target, targets), services.signer_fingerprints, before)


def _taken(services: Services) -> str:
    try:
        take(services.state_dir, services.store)
    except StateError as error:
        return error.message
    return ""


def _head(store: RunStore, *, trust: int) -> LedgerHead | None:
    newest, first = store.newest_link(), next(chain(store), None)
    if newest is None or first is None:
        return None
    begun, made = first
    for link in (begun, newest):
        if not is_well_formed(link) or begun.chain != made:
            raise LedgerChanged(f"Event {link.id} is not what was appended.", hint=UNLIKE)
    return LedgerHead(
        ledger=made,
        event=newest.id,
        at=rfc3339(newest.at),
        sha256=newest.chain,
        made_at=rfc3339(datetime.now(UTC).timestamp()),
        trust=trust,
    )


def _place(
    services: Services, name: str, found: _TargetHeads | str, head: LedgerHead, *, beginning: bool
) -> PlacedHead:
    if isinstance(found, str):
        return PlacedHead(target=name, missed=found)
    target, trusted = services.target(name), services.signer_fingerprints
    try:
        put_lists(target, services.signers(Role.CONTROL).lists)
        if before := found.own:
            leads_on(services.store, number=before.event, sha256=before.sha256)
            if before.event == head.event:
                _lock(target, HEAD.name_of(before, b""))  # whoever put it may have died before
                return PlacedHead(target=name)
        elif not beginning and (found.other or found.doubt):
            return PlacedHead(target=name)
        put(target, head, HEAD.sign(head, services.signers(Role.CONTROL)), trusted)
    except (LedgerChanged, LedgerCut):
        raise
    except StrongroomError as error:  # that target's own trouble, and no other's
        return PlacedHead(target=name, missed=error.message)
    return PlacedHead(target=name, new=True, follows=found.other, doubt=found.doubt)


class _TargetHeads(NamedTuple):
    own: LedgerHead | None = None
    other: LedgerHead | None = None
    doubt: str = ""


def _found(services: Services, name: str, head: LedgerHead) -> _TargetHeads | str:
    """Return what a head comes after on a target, or why that does not answer.

    Strangers' names keep none from being put: it is evidence, too.
    """
    target, trusted = services.target(name), services.signer_fingerprints
    try:
        if own := _newest_own(target, head, trusted):
            return _TargetHeads(own=own)
        return _TargetHeads(other=_other(target, head, trusted))
    except Strangers as error:
        return _TargetHeads(doubt=error.message)
    except StrongroomError as error:  # that target's own trouble, and no other's
        return error.message


def put(target: Target, head: LedgerHead, content: bytes, trusted: frozenset[str]) -> None:
    """Put a signed head where it belongs, and lock it where the target locks.

    Raises:
        TargetError: something else lies there under its name already, among others.
    """
    name = HEAD.name_of(head, content)
    made = put_whole(target, name, content)
    there = content if made else b"".join(target.read(name, length=HEAD.most + 1))
    if not isinstance(judge(HEAD, name, there, trusted=trusted), Counting):  # else another host was faster
        raise TargetError(
            f"{name} on target '{target.name}' is there, and nobody signed it who is trusted here."
        )
    _lock(target, name)


def _lock(target: Target, name: str) -> None:
    if target.locks:
        target.extend_lock(name, datetime.now(UTC) + KEPT)


def _newest_own(target: Target, head: LedgerHead, trusted: frozenset[str]) -> LedgerHead | None:
    """Return the newest head of this ledger on a target, of this month or the one before."""
    for month in months(datetime.fromisoformat(head.made_at)):
        if found := HeadsOn(target, trusted, ledger=head.ledger, month=month).first_signed(head.ledger):
            return found
    return None


def _other(target: Target, head: LedgerHead, trusted: frozenset[str]) -> LedgerHead | None:
    """Return the newest head of any other ledger on a target."""
    others = HeadsOn(target, trusted).newest_of_others(head.ledger)
    return max(others, key=attrgetter("made_at"), default=None)


# -- Holding the whole ledger against every head of it that lies on a target --------------------


class TargetLedger(Struct, frozen=True, kw_only=True):
    """What a target says of the ledger.

    ``agree`` heads are named as the record has it, ``newest`` is the one of the latest event that is signed;
    ``foreign`` are of this ledger by name and signed by nobody who is trusted here. ``others`` are the
    newest heads of other ledgers. ``missed`` says why it could not be asked, ``doubt``
    why what it holds could not be looked through.
    """

    target: str
    agree: int = 0
    newest: LedgerHead | None = None
    foreign: int = 0
    others: tuple[LedgerHead, ...] = ()
    missed: str = ""
    doubt: str = ""


class Made(Struct, frozen=True):
    """The digests that the record leads to at some events, and the number of its last one."""

    digests: Mapping[int, str]
    last: int


def leads_to(store: RunStore, wanted: Collection[int]) -> Made:
    """Return the digests that the record leads to, by reading all of it."""
    digests, last = {}, 0
    for link, made in chain(store):
        last = link.id
        if link.id in wanted:
            digests[link.id] = made
    return Made(digests, last)


def carries(store: RunStore, wanted: Collection[int]) -> Made:
    """Return the digests that these events carry. Whether they are the right ones is another's to read
    (:func:`~strongroom.operations.evidence.ledger.look`)."""
    newest = store.newest_link()
    return Made(store.chained(wanted), newest.id if newest else 0)


def compare_with_heads(
    services: Services,
    targets: Sequence[str],
    *,
    known: Collection[str] = (),
    digests: Callable[[RunStore, Collection[int]], Made] = leads_to,
) -> tuple[TargetLedger, ...]:
    """Hold the record against the signed heads on targets.

    Names that the record agrees with need no reading; of the rest one signed head is enough.

    Args:
        known: other ledgers, by their first digests, that may have been kept while this one is, with
            signing keys of their own, too.
        digests: says which digests the record has at the events that heads are of.

    Raises:
        LedgerChanged: a signed head is of an event that is another one now, or of another ledger that
            was kept after this one had begun.
        LedgerCut: a signed head is of an event after the record's last.
    """
    first = services.store.links(after=BEFORE_ALL, limit=1)
    ledger = first[0].chain if first else ""
    with ThreadPoolExecutor(max(1, len(targets))) as pool:
        found = pool.map(partial(_listed, services), targets)
        listed = dict(zip(targets, found, strict=True))
    there = [heads_on for heads_on in listed.values() if not isinstance(heads_on, str)]
    wanted = {head_name.event for heads in there for head_name in heads.named()}
    hold = partial(_hold, ledger=ledger, made=digests(services.store, wanted), known=known)
    told = tuple(hold(name, found) for name, found in listed.items())
    if first:
        _refuse_beside(told, rfc3339(first[0].at), known)
    return told


def _refuse_beside(told: Iterable[TargetLedger], began: str, known: Collection[str]) -> None:
    """Refuse a record that is said to begin when another was still kept: made anew, it has another first
    digest, and its events have the times that they had."""
    for ledger in told:
        for head in ledger.others:
            if head.made_at > began and head.ledger not in known:
                raise LedgerChanged(
                    f"This record begins at {began}, and target "
                    f"'{ledger.target}' has a signed head of another "
                    f"one, {head.ledger[:16]}, of {head.made_at}.",
                    hint="If another host with the same signing keys keeps a record of its own: "
                    f"--known {head.ledger}. If none does, this record was started again.",
                )


def _listed(services: Services, name: str) -> HeadsOn | str:
    try:
        return HeadsOn(services.target(name), services.signer_fingerprints)
    except StrongroomError as error:
        return error.message


def _hold(
    name: str,
    found: HeadsOn | str,
    *,
    ledger: str,
    made: Made,
    known: Collection[str],
) -> TargetLedger:
    if isinstance(found, str):
        return TargetLedger(target=name, missed=found)
    own = [head_name for head_name in found.named() if head_name.ledger == ledger[:SHOWN]]
    agree = [
        head_name for head_name in own if made.digests.get(head_name.event, "").startswith(head_name.digits)
    ]
    unlike = [head_name for head_name in own if head_name not in agree]
    try:
        _refuse(name, found, unlike, made)
        return TargetLedger(
            target=name,
            agree=len(agree),
            newest=_first(found, agree),
            foreign=len(unlike),
            others=tuple(found.newest_of_others(ledger, known)),
        )
    except (LedgerChanged, LedgerCut):
        raise
    except Strangers as error:
        return TargetLedger(target=name, doubt=error.message)
    except StrongroomError as error:
        return TargetLedger(target=name, missed=error.message)


def _first(found: HeadsOn, names: Sequence[HeadName]) -> LedgerHead | None:
    """Return the head of the latest event among names of one ledger that is signed."""
    latest = sorted(names, key=attrgetter("event"), reverse=True)
    return found.first_signed(latest[0].ledger, [head_name.info for head_name in latest]) if latest else None


def _refuse(name: str, found: HeadsOn, unlike: Sequence[HeadName], made: Made) -> None:
    """Refuse the record for the first signed head that it does not lead to."""
    infos = [head_name.info for head_name in unlike]
    if infos and (head := found.first_signed(unlike[0].ledger, infos)):
        where = f"a signed head of {head.made_at} on target '{name}'"
        if head.event > made.last:
            raise LedgerCut(f"The record ends with event {made.last}; {where} is of event {head.event}.")
        raise LedgerChanged(f"Event {head.event} is not the one that {where} is of.", hint=UNLIKE)
