"""The ledger's head, signed, on every target: hourly, if something happened."""

from __future__ import annotations

import logging

from workers import names
from workers.app import app
from workers.base import define

log = logging.getLogger(__name__)


@define(names.LEDGER)
def publish() -> int:
    """Put the head where it is not yet; return how many targets took it.

    What lies there and the record does not lead on from is an alarm in the log; so is a record that begins
    anew beside one that was kept before.
    """
    from strongroom.operations.evidence import ledger_heads
    from strongroom.state.errors import LedgerChanged, LedgerCut

    try:
        done = ledger_heads.publish(app.services.get(), app.settings.online)
    except (LedgerChanged, LedgerCut) as error:
        log.error("ledger-not-as-published", extra={"code": error.code, "why": error.message})
        return 0
    if done.untaken:
        log.error("accesses-not-taken", extra={"why": done.untaken})
    for place in done.places:
        if place.missed or place.doubt:
            log.warning(
                "ledger-head-amiss", extra={"target": place.target, "why": place.missed or place.doubt}
            )
        if place.follows is not None:
            log.error("ledger-began-again", extra={"target": place.target, "before": place.follows.event})
    return sum(place.new for place in done.places)
