"""Runs whose process was killed: telling them, and going on with them."""

from __future__ import annotations

from pathlib import Path

from strongroom.operations.runs import process_lock
from strongroom.operations.runs.steps import recover
from strongroom.operations.services import Services
from strongroom.state.records import Run, StepState, Ticket
from strongroom.state.store import RunStore

GONE = "its process is gone"


def is_abandoned(run: Run, store: RunStore, state_dir: Path) -> bool:
    """Tell whether the process that drove a run has died, and nobody has taken it up since."""
    if run.state.final:
        return False
    driver = process_lock.status(state_dir, run.id)
    if driver.alive or not driver.gone:
        return False
    started = [row for row in store.rows(run.id) if row.started_at is not None]
    # The cluster may have taken it up, and stand between two steps just now.
    newest = max(started, key=lambda row: row.started_at or 0.0, default=None)
    busy = any(row.state is StepState.RUNNING and row.owner not in driver.gone for row in started)
    return not busy and (newest is None or newest.owner in driver.gone)


def take_up(run: str, services: Services) -> list[Ticket]:
    """Take over an abandoned run: return what is due of it, and free the steps that its process claimed."""
    services.store.forsake(run, owners=process_lock.status(services.state_dir, run).gone)
    recover(services)
    return services.store.take_ready(run, window=services.limits.window)
