"""Puts runs on record: at a request, or for a slot that has come due. What a run is, its job says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.engine import run_log
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.hooks import first_step
from strongroom.operations.engine.jobs import begin_next, decide, job_of, waits_its_turn
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import NothingToDo
from strongroom.state.errors import StateError
from strongroom.state.records import Pause, Run, RunKind, Spec, Ticket

Submitted = tuple[str, list[Ticket]]
"""A run's id, and what to send first."""


def submit(services: Services, spec: Spec, *, request_id: str | None = None) -> Submitted:
    """Create a run and return its id and what to send first."""
    require_roles(services, spec.kind)
    first, queued = first_step(services, spec), waits_its_turn(services, spec.kind)
    run = services.store.create(spec, first=(first,), request_id=request_id, queued=queued)
    assert run is not None  # only a slot can be taken already
    run_log.begun(run)
    return run.id, first_tickets(services, run)


def require_roles(services: Services, kind: RunKind) -> None:
    """Refuse a run that this process would drive and whose work its host may not sign. Raises RoleNotHere."""
    services.require_roles({action.pool for action in job_of(kind).actions.values()})


def first_tickets(services: Services, run: Run) -> list[Ticket]:
    """Take what is due of a run that was just put on record, where this process hands out work; where runs
    wait for their turn, of those whose turn it is."""
    if not services.hands_out:
        return []
    if waits_its_turn(services, run.spec.kind):
        return begin_next(services, run.spec.kind)
    return services.store.take_ready(run.id, window=services.limits.window)


def open_due(
    services: Services,
    calendar: Iterable[Scheduled],
    *,
    now: float | None = None,
    refused: Callable[[Scheduled, StrongroomError], object] | None = None,
) -> list[Ticket]:
    """Create the runs whose slot has come: each slot once, whoever asks and however often.

    Args:
        now: seconds since the epoch; the time by the database's clock, if left out: a host whose clock is
            ahead would run a slot before its time, and nobody would once it comes. A slot after it never
            counts; of several that were slept through only the newest is run.
        refused: is told of an entry that cannot be run now, which keeps no other from its turn. Without it
            the error is raised.
    """
    moment = services.store.clock() if now is None else now
    on = not_paused(calendar, services.store.pauses(), now=moment)
    tickets: list[Ticket] = []
    for entry in on:
        try:
            tickets += _open_entry(services, entry, moment)
        except StateError:
            raise
        except StrongroomError as error:
            if refused is None:
                raise
            refused(entry, error)
    return tickets


def _open_entry(services: Services, entry: Scheduled, now: float) -> list[Ticket]:
    job = job_of(entry.kind)
    tickets: list[Ticket] = []
    for scheduled_entry, due in due_slots(
        job.scheduled_entries(entry, services), newest=services.store.newest_slot, now=now
    ):
        if (spec := job.scheduled_spec(scheduled_entry, services, due)) is not None:
            tickets += open_slot(services, spec, slot=scheduled_entry.name, due=due)
    return tickets


def not_paused(calendar: Iterable[Scheduled], pauses: Iterable[Pause], *, now: float) -> list[Scheduled]:
    """Return the entries that run by themselves: on, not paused, and without a medium to wait for."""
    paused = [pause.entry for pause in pauses if pause.holds(now)]
    on = (entry for entry in calendar if not (entry.needs or entry.offline))
    return [entry for entry in on if not any(map(entry.belongs_to, paused))]


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


def run_now(
    services: Services, entries: Sequence[Scheduled], *, request_id: str | None = None
) -> list[Submitted]:
    """Create the runs of entries at once. Each takes a slot of this moment, so that what is overdue does not
    come a second time.

    Raises:
        UsageError: one is off, or waits for a medium.
        NothingToDo: there is nothing to do.
    """
    for entry in entries:
        _check_can_run(entry)
    submitted: list[Submitted] = []
    for entry in entries:
        for scheduled_entry in job_of(entry.kind).scheduled_entries(entry, services):
            submitted += _begin_now(services, scheduled_entry, None if submitted else request_id)
    if not submitted:
        hint = "See 'strongroom schedule': it may need a backup first, or be at work already."
        raise NothingToDo(f"'{entries[0].name}' has nothing to do now.", hint=hint)
    return submitted


def _begin_now(services: Services, entry: Scheduled, request_id: str | None) -> list[Submitted]:
    now = services.store.clock()
    spec = job_of(entry.kind).scheduled_spec(entry, services, now)
    if spec is None:
        return []
    require_roles(services, spec.kind)
    first, slot = first_step(services, spec, entry.name), (entry.name, now)
    queued = waits_its_turn(services, spec.kind)
    run = services.store.create(spec, first=(first,), request_id=request_id, slot=slot, queued=queued)
    if run is None:
        return []
    run_log.begun(run)
    return [(run.id, first_tickets(services, run))]


def _check_can_run(entry: Scheduled) -> None:
    if entry.needs:
        raise UsageError(f"'{entry.name}' is off: {entry.needs}.", hint="See 'strongroom schedule'.")
    if entry.offline:
        hint = f"Mount it, then 'strongroom emergency backup {entry.policy}'."
        raise UsageError(f"'{entry.name}' is made onto a medium.", hint=hint)


def open_slot(services: Services, spec: Spec, *, slot: str, due: float) -> list[Ticket]:
    """Create the run of a slot that has come, unless somebody was faster; return what to send first."""
    first, queued = first_step(services, spec, slot), waits_its_turn(services, spec.kind)
    run = services.store.create(spec, first=(first,), slot=(slot, due), queued=queued)
    if run is None:
        return []
    run_log.begun(run, slot=slot)
    return first_tickets(services, run)


def retry(services: Services, run: str) -> Run:
    """Take a failed run up again, from its first step: its report has swept what it staged.

    Raises:
        UsageError: it has not failed, or its job refuses.
    """
    failed = services.store.load(run)
    job = job_of(failed.spec.kind)
    job.check_retry(failed, services)
    first = first_step(services, failed.spec, services.store.slot_of(run) or "")
    queued = waits_its_turn(services, failed.spec.kind)
    return services.store.retry(run, decide, first=(first,), queued=queued)
