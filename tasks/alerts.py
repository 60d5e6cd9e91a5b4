"""Telling people what is wrong. Beat asks, and while it is silent a transfer worker does."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from workers import names
from workers.app import app
from workers.base import define

if TYPE_CHECKING:
    from strongroom.operations.judge.fact_records import WatchedInstallation
    from strongroom.operations.notify.notify import JudgedFacts, Sending

log = logging.getLogger(__name__)


@define(names.ALERTS)
def alerts() -> int:
    """Look for what is wrong, and tell people what is new of it; return how many alerts there are."""
    from strongroom.operations.evidence.ledger_heads import compare_with_heads
    from strongroom.operations.judge.calendar import late_entries
    from strongroom.operations.notify.notify import CLUSTER, gather_and_judge, put_lost_on_record
    from strongroom.wiring import watching as wiring_alerts
    from strongroom.wiring.watching import sending
    from workers.cluster_facts import cluster_facts

    settings, services = app.settings, app.services.get()
    watched = dataclasses.replace(
        wiring_alerts.watched(settings),
        store=lambda: services.store,
        targets=services.targets,
        trusted=services.signer_fingerprints,
        hold_ledger=lambda: compare_with_heads(services, watched.in_use),
        late_entries=lambda now: late_entries(services, watched.calendar, now=now),
        cluster=lambda: cluster_facts(settings, ask=False),
    )
    found = gather_and_judge(watched, wiring_alerts.limits(settings))
    put_lost_on_record(watched, found)
    for alert in found.alerts:
        log.warning("alert", extra={"key": alert.key, "severity": alert.severity.value})
    if (how := sending(settings, by=CLUSTER)) is not None:
        _tell(watched, found, how)
    services.store.heartbeat(names.ALERTS)  # or a worker asks for it: see workers/beat_fallback.py
    return len(found.alerts)


def _tell(watched: WatchedInstallation, found: JudgedFacts, how: Sending) -> None:
    """Tell people. Raises what went wrong where somebody was not told."""
    from strongroom.operations.notify.notify import tell_people

    for delivery in tell_people(watched, found, how):
        if delivery.error is not None:
            raise delivery.error
