"""Holding the whole ledger against every head of it that lies on a target."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import attrgetter

from msgspec import Struct

from strongroom.container.head import SHOWN, LedgerHead
from strongroom.errors import StrongroomError
from strongroom.operations.archive.heads import HeadName, HeadsOn, Strangers
from strongroom.operations.evidence.ledger import BEFORE_ALL, UNLIKE, chain
from strongroom.operations.services import Services
from strongroom.state.errors import LedgerChanged, LedgerCut
from strongroom.timestamps import rfc3339


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


def compare_with_heads(
    services: Services, targets: Sequence[str], *, known: Collection[str] = ()
) -> tuple[TargetLedger, ...]:
    """Hold the record against the signed heads on targets.

    Names that the record agrees with need no reading; of the rest one signed head is enough.

    Args:
        known: other ledgers, by their first digests, that may have been kept while this one is, with
            signing keys of their own, too.

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
    hold = partial(_hold, ledger=ledger, made=_digests(services, wanted), known=known)
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


class Made(Struct, frozen=True):
    """The digests that the record leads to at some events, and the number of its last one."""

    digests: Mapping[int, str]
    last: int


def _listed(services: Services, name: str) -> HeadsOn | str:
    try:
        return HeadsOn(services.target(name), services.signer_fingerprints)
    except StrongroomError as error:
        return error.message


def _digests(services: Services, wanted: set[int]) -> Made:
    digests, last = {}, 0
    for link, made in chain(services.store):
        last = link.id
        if link.id in wanted:
            digests[link.id] = made
    return Made(digests, last)


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
