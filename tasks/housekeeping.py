"""What beat asks for again and again. Both may run twice, late, or not at all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from workers import names
from workers.app import app
from workers.base import define
from workers.send import send_tickets

if TYPE_CHECKING:
    from strongroom.errors import StrongroomError
    from strongroom.operations.engine.calendar_entries import Scheduled

log = logging.getLogger(__name__)

HOUR = 3600.0


@define(names.TICK)
def tick(*, entry: str | None = None, instead: bool = False) -> int:
    """Open every slot that has come due; return how many steps were sent.

    ``entry`` is what beat asks for, for whoever reads the log. ``instead``: a worker asks, since beat is
    silent. That is no sign that beat lives.
    """
    from strongroom.operations.backup.medium import remind_all
    from strongroom.operations.engine.jobs import fold_old_steps
    from strongroom.operations.engine.submit import open_due
    from strongroom.operations.rotation.job import remind
    from strongroom.wiring.calendar import calendar

    services = app.services.get()
    if not instead:
        services.store.heartbeat(names.BEAT)
    entries = calendar(app.settings)
    sent = send_tickets(app, open_due(services, entries, refused=_say_refused))
    remind(services)
    for waiting in remind_all(services, entries):
        log.warning("emergency-backup-waits", extra={"policy": waiting})
    fold_old_steps(services)
    return sent


def _say_refused(entry: Scheduled, error: StrongroomError) -> None:
    log.error("entry-not-run", extra={"entry": entry.name, "error": error.code})
    store = app.services.get().store
    if store.take_turn(f"refused {entry.name}", every=HOUR):
        store.event("schedule.refused", entry=entry.name, error=error.code)


@define(names.RECONCILE)
def reconcile() -> int:
    """Send again what got lost; return how many steps were sent."""
    from strongroom.operations.engine import steps

    services = app.services.get()
    services.store.heartbeat(names.RECONCILE)  # or a worker asks for it: see workers/beat_fallback.py
    return send_tickets(app, steps.reconcile(services))
