"""Puts runs on record: at a request, or for a slot that has come due. What a run is, its job says."""

from __future__ import annotations

import time
from collections.abc import Iterable

from strongroom.operations.runs.decide import decide
from strongroom.operations.runs.job import job_of
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.schedule import last_slot
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


def open_slot(services: Services, spec: Spec, *, slot: str, due: float) -> list[Ticket]:
    """Create the run of a slot that has come, unless somebody was faster; return what to send first."""
    run = services.store.create(spec, first=(job_of(spec.kind).first,), slot=(slot, due))
    return [] if run is None else services.store.take_ready(run.id, window=services.limits.window)


def is_due(services: Services, slot: str, due: float | None) -> bool:
    """Tell whether a slot has come that no run was created for yet."""
    return due is not None and due > (services.store.newest_slot(slot) or 0.0)


def open_due(services: Services, scheduled: Iterable[Scheduled], *, now: float | None = None) -> list[Ticket]:
    """Create the runs whose slot has come: each slot once, whoever asks and however often.

    Args:
        now: seconds since the epoch. A slot after it never counts; of several that were
            slept through only the newest is run.
    """
    moment = time.time() if now is None else now
    tickets: list[Ticket] = []
    for entry in scheduled:
        due = None if entry.offline else last_slot(entry.schedule, moment)
        if due is None or not is_due(services, entry.slot, due):
            continue
        if (spec := job_of(entry.kind).scheduled_spec(entry, services)) is not None:
            tickets += open_slot(services, spec, slot=entry.slot, due=due)
    return tickets


def retry(services: Services, run: str) -> Run:
    """Take a failed run up again, from its first step: its report has swept what it staged.

    Raises:
        UsageError: it has not failed, or its job refuses.
    """
    failed = services.store.load(run)
    job = job_of(failed.spec.kind)
    job.check_retry(failed, services)
    return services.store.retry(run, decide, first=(job.first,))
