"""Sends the tickets that a step returned."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from strongroom.state.records import Ticket
from workers.names import step_task
from workers.rights import may_send, queue_of
from workers.tickets import to_arguments

if TYPE_CHECKING:
    from workers.app import Strongroom

log = logging.getLogger(__name__)


def send_tickets(app: Strongroom, tickets: Iterable[Ticket]) -> int:
    """Send each ticket to its queue; return how many were sent.

    A ticket that cannot be sent is not lost: its row says SENT, nobody claims it, and
    reconcile sends it again. So a broker that is gone does not fail a step that is done.
    """
    sent = 0
    for ticket in tickets:
        if not _may_send(app.role, ticket):
            continue
        try:
            _send(app, ticket)
        except (OperationalError, RedisError, OSError) as error:
            log.error("tickets-not-sent", extra={"run": ticket.run, "why": type(error).__name__})
            break
        sent += 1
    return sent


def _send(app: Strongroom, ticket: Ticket) -> None:
    name = step_task(ticket.step.kind)
    app.send_task(name, kwargs=to_arguments(ticket), queue=queue_of(name))


def _may_send(role: str, ticket: Ticket) -> bool:
    allowed = step_task(ticket.step.kind) in may_send(role)
    if not allowed:  # the receiver would refuse it; reconcile, in the control role, may
        log.warning("ticket-not-ours", extra={"run": ticket.run, "step": str(ticket.step)})
    return allowed
