"""Sends the tickets that a step returned, as messages, and reads them back."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from kombu.exceptions import EncodeError, OperationalError
from redis.exceptions import RedisError

from strongroom.keys.errors import RoleNotHere
from strongroom.operations.errors import MessageRefused
from strongroom.state.records import RunStep, StepKind, Ticket
from workers.names import step_task
from workers.rights import may_send, queue_of

if TYPE_CHECKING:
    from workers.app import Strongroom

log = logging.getLogger(__name__)


def send_tickets(app: Strongroom, tickets: Iterable[Ticket]) -> int:
    """Send each ticket to its queue; return how many were sent.

    A ticket that cannot be sent is not lost: its row says SENT, nobody claims it, and
    reconcile sends it again. So a broker that is gone does not fail a step that is done; nor does a key that
    counts no more, of a host that was thrown out meanwhile.
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
        except EncodeError as error:  # which is what kombu makes of ours
            if not isinstance(error.__context__, RoleNotHere):
                raise
            log.error("tickets-not-sent", extra={"run": ticket.run, "why": error.__context__.code})
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


# -- A step's ticket as a message's arguments, and back, strictly --


VERSION: Final = 1


def to_arguments(ticket: Ticket) -> dict[str, Any]:
    """Return what a step's message carries; its kind is in the task's name."""
    return {
        "version": VERSION,
        "run": ticket.run,
        "piece": ticket.step.piece,
        "target": ticket.step.target,
        "dispatch": ticket.dispatch,
    }


def from_arguments(
    kind: StepKind, *, version: int, run: str, piece: int, target: str, dispatch: int
) -> Ticket:
    """Return the ticket of a message. Raises MessageRefused for another version or other types.

    An upgrade may leave messages of an older version behind: the run record still has the
    steps, and reconcile sends them again in the version of the day.
    """
    if version != VERSION:
        raise MessageRefused(f"a step message of version {version!r}, not {VERSION}")
    texts, numbers = (run, target), (piece, dispatch)
    if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
        raise MessageRefused("a step message with arguments of other types")
    return Ticket(run=run, step=RunStep(kind, piece, target), dispatch=dispatch)
