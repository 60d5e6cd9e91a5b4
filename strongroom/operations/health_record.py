"""The record of events as evidence: chained, and led on from by signed heads that lie on targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from strongroom.errors import LedgerChanged, LedgerCut, RequirementUnmet, TargetUnavailable
from strongroom.operations.health import Finding, good, unknown, wrong
from strongroom.operations.keyhealth import DAY
from strongroom.operations.ledger import check
from strongroom.operations.ledger_held import OnTarget, held
from strongroom.operations.services import Services
from strongroom.words import plural

RECORD = "record"
YOUNG = 2 * DAY
"""How old the newest signed head may be. Workers put one each hour in which something happened."""


def record(services: Services, targets: Sequence[str], *, now: float) -> Iterator[Finding]:
    """Hold the record against itself and against every signed head, and the heads to being new."""
    try:
        events = check(services.store).events
        told = held(services, targets)
    except (LedgerChanged, LedgerCut) as error:
        yield wrong(RECORD, error)
        return
    yield good(RECORD, f"{plural(events, 'event')} on record, each as it was appended")
    for one in told:
        if one.missed:
            away = TargetUnavailable(f"whether a signed head is there is not known: {one.missed}")
            yield unknown(RECORD, away).on(target=one.target)
    if any(not one.missed for one in told):
        yield _newest(told, now)


def _newest(told: Sequence[OnTarget], now: float) -> Finding:
    made = {one.target: one.newest.made_at for one in told if one.newest is not None}
    young = [name for name, at in made.items() if now - datetime.fromisoformat(at).timestamp() <= YOUNG]
    if young:
        return good(RECORD, f"its head lies signed on {', '.join(young)}, since {max(made.values())}")
    words = (
        f"the newest signed head is of {max(made.values())}" if made else "no signed head lies on a target"
    )
    hint = "Let the control workers run, or: 'strongroom ledger publish'."
    return wrong(RECORD, RequirementUnmet(f"{words}: what is cut off the record would not show", hint=hint))
