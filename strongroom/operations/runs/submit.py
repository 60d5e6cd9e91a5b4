"""Puts runs on record: at a request, or for a slot that has come due. What a run is, its job says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from strongroom.operations.runs.decide import decide
from strongroom.operations.runs.job import job_of
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.state.records import Run, Spec, Ticket

Submitted = tuple[str, list[Ticket]]
"""A run's id, and what to send first."""


def submit(services: Services, spec: Spec, *, request_id: str | None = None) -> Submitted:
    """Create a run and return its id and what to send first."""
    run = services.store.create(spec, first=(job_of(spec.kind).first,), request_id=request_id)
    assert run is not None  # only a slot can be taken already
    return run.id, first_tickets(services, run.id)


def first_tickets(services: Services, run: str) -> list[Ticket]:
    """Take what is due of a run that was just put on record, where this process hands out work."""
    return services.store.take_ready(run, window=services.limits.window) if services.hands_out else []


def open_due(services: Services, calendar: Iterable[Scheduled], *, now: float | None = None) -> list[Ticket]:
    """Create the runs whose slot has come: each slot once, whoever asks and however often.

    Args:
        now: seconds since the epoch. A slot after it never counts; of several that were
            slept through only the newest is run.
    """
    moment = time.time() if now is None else now
    entries = [
        one
        for entry in calendar
        if not entry.needs and not entry.offline
        for one in job_of(entry.kind).scheduled_entries(entry, services)
    ]
    tickets: list[Ticket] = []
    for entry, due in due_slots(entries, newest=services.store.newest_slot, now=moment):
        if (spec := job_of(entry.kind).scheduled_spec(entry, services, due)) is not None:
            tickets += open_slot(services, spec, slot=entry.name, due=due)
    return tickets


def due_slots(
    entries: Iterable[Scheduled], *, newest: Callable[[str], float | None], now: float
) -> Iterator[tuple[Scheduled, float]]:
    """Yield the entries whose slot has come and is nobody's yet, with it.

    Args:
        newest: returns the newest slot that was claimed under a name.
    """
    for entry in entries:
        due = entry.last(now)
        if due is not None and due > (newest(entry.name) or 0.0):
            yield entry, due


def open_slot(services: Services, spec: Spec, *, slot: str, due: float) -> list[Ticket]:
    """Create the run of a slot that has come, unless somebody was faster; return what to send first."""
    run = services.store.create(spec, first=(job_of(spec.kind).first,), slot=(slot, due))
    return [] if run is None else services.store.take_ready(run.id, window=services.limits.window)


def retry(services: Services, run: str) -> Run:
    """Take a failed run up again, from its first step: its report has swept what it staged.

    Raises:
        UsageError: it has not failed, or its job refuses.
    """
    failed = services.store.load(run)
    job = job_of(failed.spec.kind)
    job.check_retry(failed, services)
    return services.store.retry(run, decide, first=(job.first,))
