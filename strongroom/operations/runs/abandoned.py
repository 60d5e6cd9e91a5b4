"""Runs whose process was killed: telling them, going on with them, ending them."""

from __future__ import annotations

from pathlib import Path

from strongroom.errors import RunNotFound
from strongroom.operations.runs import process_lock
from strongroom.operations.runs.drive import drive
from strongroom.operations.runs.steps import recover
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunKind, StepKind, StepState, Ticket
from strongroom.state.store import RunStore

GONE = "its process is gone"


def is_abandoned(run: Run, store: RunStore, state_dir: Path) -> bool:
    """Tell whether the process that drove a run has died, and nobody has taken it up since."""
    if run.state.final:
        return False
    found = process_lock.standing(state_dir, run.id)
    if found.alive or not found.gone:
        return False
    started = [row for row in store.rows(run.id) if row.started_at is not None]
    # The cluster may have taken it up, and stand between two steps just now.
    newest = max(started, key=lambda row: row.started_at or 0.0, default=None)
    busy = any(row.state is StepState.RUNNING and row.owner not in found.gone for row in started)
    return not busy and (newest is None or newest.owner in found.gone)


def take_up(run: str, services: Services) -> list[Ticket]:
    """Return what is due of an abandoned run, what its process held included."""
    services.store.forsake(run, owners=process_lock.standing(services.state_dir, run).gone)
    recover(services)
    return services.store.take_ready(run, window=services.limits.window)


def end_abandoned(services: Services, *, policy: str) -> list[Run]:
    """Bring a policy's abandoned backups to their end before it makes another; return them.

    One whose containers all lie where they belong is gone on with: it may have a manifest by now, and then is
    a backup. Any other is cancelled, and what it left removed: the next one takes its place.
    """
    ended: list[Run] = []
    for name in process_lock.left(services.state_dir):
        run = _known(name, services)
        if run is None or run.state.final:
            process_lock.forget(services.state_dir, name)
        elif _of(run, policy) and is_abandoned(run, services.store, services.state_dir):
            ended.append(_end(run, services))
    return ended


def _known(name: str, services: Services) -> Run | None:
    try:
        return services.store.load(name)
    except RunNotFound:
        return None


def _of(run: Run, policy: str) -> bool:
    return run.spec.kind is RunKind.BACKUP and run.spec.policy == policy


def _end(run: Run, services: Services) -> Run:
    if not services.store.rows(run.id, StepKind.COMMIT):
        services.store.cancel(run.id, error=f"{GONE}, and the next backup took its place")
    return drive(run.id, take_up(run.id, services), services)
