"""What the entry tasks share: make a run under the task's own id, send its first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from strongroom.errors import StrongroomError
from workers.app import app
from workers.base import own_id
from workers.send import send_tickets

if TYPE_CHECKING:
    from strongroom.operations.services import Services
    from strongroom.operations.submit import Submitted

REFUSED: Final = "submission-refused"


def submit(create: Callable[[Services, str], Submitted]) -> str:
    """Create a run and send its first step; return the run's id.

    ``create`` gets the task's id as the request id: a message that is delivered twice makes
    one run, and ``strongroom status`` finds it by the id that the caller holds. A request
    that makes no run leaves an event of kind ``submission-refused`` with that id.
    """
    services, request = app.services.get(), own_id()
    try:
        run, tickets = create(services, request)
    except StrongroomError as error:
        if not error.transient:
            services.store.event(REFUSED, request=request, code=error.code, why=error.message)
        raise
    send_tickets(app, tickets)
    return run
