"""What people ask for on the page, by a message that its role signs: each by the function of the command
line, and on record with the person's name.

A stolen key of the page can do no more than these, so often, and of no restore.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.show.acting import ASKED, AT_A_TERMINAL, REFUSED
from workers import names
from workers.app import app
from workers.base import define
from workers.send import send_tickets

if TYPE_CHECKING:
    from strongroom.operations.engine.services import Services
    from strongroom.operations.engine.submit import Submitted

LONGEST: Final = 200
"""Characters of a person's name, and of a reason."""
MOST: Final = 60
WITHIN: Final = 600.0
"""So many things are done in so many seconds: whoever stole the key of the page makes no more runs."""


@define(names.PAGE_RUN)
def run(*, entry: str, by: str) -> None:
    """Run an entry of the calendar now."""

    def begin(services: Services, request: str) -> Submitted:
        from strongroom.operations.engine.submit import run_now
        from strongroom.state.errors import RunNotFound
        from strongroom.wiring.calendar import entries_named

        with suppress(RunNotFound):  # a message that comes twice makes one run
            return services.store.find(request).id, []
        submitted = run_now(services, entries_named(entry, app.settings), request_id=request)
        return submitted[0][0], [ticket for _, due in submitted for ticket in due]

    _perform("run", entry, by, begin)


@define(names.PAGE_RETRY)
def retry(*, run: str, by: str) -> None:
    """Take a failed run up again."""

    def again(services: Services, _request: str) -> Submitted:
        from strongroom.operations.engine import submit

        found = services.store.load(run)
        if found.spec.kind in AT_A_TERMINAL:
            raise UsageError(
                "What this run writes is agreed on at a terminal, and not on the page.",
                hint=f"Nothing was changed. Type: strongroom runs retry {found.id}",
            )
        if found.state.final:
            submit.retry(services, found.id)
        return found.id, submit.first_tickets(services, found)

    _perform("retry", run, by, again)


@define(names.PAGE_ACKNOWLEDGE)
def acknowledge(*, alert: str, reason: str, by: str) -> None:
    """Say that somebody works on an alert."""

    def say(services: Services, _request: str) -> Submitted:
        from strongroom.operations.notify import notify
        from strongroom.wiring import watching

        _require_words(reason, "reason")
        watched, limits = watching.watched(app.settings), watching.limits(app.settings)
        notify.acknowledge(services.store, watched, limits, alert, by=by, reason=reason)
        return "", []

    _perform("acknowledge", alert, by, say)


def _perform(what: str, subject: str, by: str, act: Callable[[Services, str], Submitted]) -> None:
    """Do what is asked for once, and put on record who asked, and what came of it."""
    services, request = app.services.get(), str(app.current_task.request.id)
    store = services.store
    if any(event.detail.get("request") == request for event in store.happened(ASKED, REFUSED, since=0.0)):
        return  # played again
    asked = {"request": request, "what": what, "subject": subject[:255], "by": by[:LONGEST]}
    try:
        _require_words(by, "name")
        if len(store.happened(ASKED, since=store.clock() - WITHIN)) >= MOST:
            raise UsageError(
                f"{MOST} things were asked for on the page within {WITHIN / 60:.0f} minutes.",
                hint="Nothing was changed. Wait, or use the command line.",
            )
        run, tickets = act(services, request)
    except StrongroomError as error:
        if not error.transient:
            store.event(REFUSED, **asked, code=error.code, why=error.message, hint=error.hint)
        raise
    store.event(ASKED, run or None, **asked)
    send_tickets(app, tickets)


def _require_words(text: str, what: str) -> None:
    if not (text.strip() and text.isprintable() and len(text) <= LONGEST):
        raise UsageError(
            f"A {what} of 1 to {LONGEST} printable characters is needed; nothing was changed.", hint=""
        )
