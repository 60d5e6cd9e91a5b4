"""Asking for an entry of the calendar at once::

from tasks.schedule import run_entry
run_entry.delay(entry="full-drill")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers import names
from workers.app import app
from workers.entry import define_entry

if TYPE_CHECKING:
    from strongroom.operations.engine.services import Services
    from strongroom.operations.engine.submit import Submitted


@define_entry(names.RUN_ENTRY)
def run_entry(services: Services, request: str, *, entry: str) -> Submitted:
    """Run an entry now. One that is about several things makes several runs; the first is the answer."""
    from strongroom.operations.engine.submit import run_now
    from strongroom.wiring.calendar import entries_named

    submitted = run_now(services, entries_named(entry, app.settings), request_id=request)
    tickets = [ticket for _, due in submitted for ticket in due]
    return submitted[0][0], tickets
