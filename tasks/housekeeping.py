"""What beat asks for again and again. Both may run twice, late, or not at all."""

from __future__ import annotations

from workers import names
from workers.app import app
from workers.base import define
from workers.send import send_tickets


@define(names.TICK)
def tick(*, policy: str | None = None, drill: str | None = None, repair: str | None = None) -> int:
    """Open every slot that has come due; return how many steps were sent."""
    from strongroom.operations.submit import open_due, open_repairs  # noqa: PLC0415
    from strongroom.wiring.policies import scheduled  # noqa: PLC0415

    services = app.services.get()
    services.store.heartbeat(names.BEAT)
    sent = send_tickets(app, open_due(services, scheduled(app.settings)))
    return sent + send_tickets(app, open_repairs(services, app.settings.repair.schedule))


@define(names.RECONCILE)
def reconcile() -> int:
    """Send again what got lost; return how many steps were sent."""
    from strongroom.operations import steps  # noqa: PLC0415

    return send_tickets(app, steps.reconcile(app.services.get()))
