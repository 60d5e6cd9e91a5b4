"""The record of events as evidence: chained, and led on from by signed heads that lie on targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter

from strongroom.container.errors import UntrustedSigner
from strongroom.operations.archive.heads import STRANGERS
from strongroom.operations.errors import RequirementUnmet
from strongroom.operations.evidence.ledger import check
from strongroom.operations.evidence.ledger_check import TargetLedger, compare_with_heads
from strongroom.operations.findings import Finding, good, remark, unknown, wrong
from strongroom.operations.key_management.proofs import DAY
from strongroom.operations.services import Services
from strongroom.state.errors import LedgerChanged, LedgerCut
from strongroom.targets.errors import TargetUnavailable
from strongroom.words import plural

RECORD = "record"
YOUNG = 2 * DAY
"""For how long an event may be under no signed head. Workers put one an hour if something happened."""
_OTHER = (
    "After a lost database, or beside another installation, that is right; else: docs/how-to/symptoms.md."
)


def record(services: Services, targets: Sequence[str], *, now: float) -> Iterator[Finding]:
    """Hold the record against itself and against every signed head, and the heads to being new."""
    try:
        events, told = _held(services, targets)
    except (LedgerChanged, LedgerCut) as error:
        yield wrong(RECORD, error)
        return
    yield good(RECORD, f"{plural(events, 'event')} on record, each as it was appended")
    for ledger in told:
        if ledger.missed:
            away = TargetUnavailable(
                f"nobody knows whether the record leads on from the heads there: {ledger.missed}"
            )
            yield unknown(RECORD, away).on(target=ledger.target)
    yield from _odd(RECORD, told)
    seen = [target_ledger for target_ledger in told if not target_ledger.missed and not target_ledger.doubt]
    if seen or not told:
        yield _newest(services, seen, now)


def _held(services: Services, targets: Sequence[str]) -> tuple[int, tuple[TargetLedger, ...]]:
    return check(services.store).events, compare_with_heads(services, targets)


def _odd(area: str, told: Sequence[TargetLedger]) -> Iterator[Finding]:
    """Yield what lies on targets beside the heads of this record."""
    for ledger in told:
        if ledger.doubt:
            yield unknown(area, UntrustedSigner(ledger.doubt, hint=STRANGERS)).on(target=ledger.target)
        for head in ledger.others:
            words = (
                f"another record ends there with event {head.event}, of {head.at}: this lacks what that had"
            )
            yield remark(area, words, _OTHER).on(target=ledger.target)


def _newest(services: Services, told: Sequence[TargetLedger], now: float) -> Finding:
    """Say which event the newest head is of: whatever has been on record for long has to be under one."""
    heads = {ledger.target: ledger.newest for ledger in told if ledger.newest is not None}
    if not heads:
        return _uncovered("no signed head lies on a target")
    newest = max(heads.values(), key=attrgetter("event"))
    after = services.store.links(after=newest.event, limit=1)
    if after and now - after[0].at > YOUNG:
        return _uncovered(
            f"the newest signed head is of event {newest.event}, of {newest.at}, and more came since"
        )
    where = ", ".join(name for name, head in heads.items() if head.event == newest.event)
    return good(RECORD, f"its head lies signed on {where}: event {newest.event}, of {newest.at}")


def _uncovered(words: str) -> Finding:
    hint = "Let the control workers run, or: 'strongroom ledger publish'."
    return wrong(RECORD, RequirementUnmet(f"{words}: what is cut off the record would not show", hint=hint))
