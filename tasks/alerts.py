"""Telling people what is wrong. Beat asks, and while it is silent a transfer worker does."""

from __future__ import annotations

import dataclasses
import logging

from workers import names
from workers.app import app
from workers.base import define

log = logging.getLogger(__name__)


@define(names.ALERTS)
def alerts() -> int:
    """Look for what is wrong, and send one mail with what is new of it; return how many alerts there are."""
    from strongroom.operations.alerts.notify import (
        Sending,
        gather_and_judge,
        put_lost_on_record,
        tell_people,
    )
    from strongroom.operations.evidence.ledger_check import compare_with_heads
    from strongroom.wiring import alerts as wiring_alerts

    settings, services = app.settings, app.services.get()
    watched = dataclasses.replace(
        wiring_alerts.watched(settings),
        store=lambda: services.store,
        targets=services.targets,
        trusted=services.signer_fingerprints,
        hold_ledger=lambda: compare_with_heads(services, watched.in_use),
    )
    found = gather_and_judge(watched, wiring_alerts.limits(settings))
    put_lost_on_record(watched, found)
    for alert in found.alerts:
        log.warning("alert", extra={"key": alert.key, "severity": alert.severity.value})
    if settings.alerts.email:
        server, repeat = wiring_alerts.mail_server(settings), settings.alerts.repeat
        # Whichever worker got the task: to people it is one look.
        sending = Sending(server=server, recipients=settings.alerts.email, repeat=repeat, by="workers")
        tell_people(watched, found, sending)
    return len(found.alerts)
