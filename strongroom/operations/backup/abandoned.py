"""Backups whose process was killed, before the policy makes another."""

from __future__ import annotations

from strongroom.operations.runs import process_lock
from strongroom.operations.runs.abandoned import GONE, is_abandoned, take_up
from strongroom.operations.runs.drive import drive
from strongroom.operations.services import Services
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run, RunKind, StepKind


def end_abandoned(services: Services, *, policy: str) -> list[Run]:
    """Bring a policy's abandoned backups to their end before it makes another; return them.

    One whose containers all lie where they belong is gone on with: it may have a manifest by now, and then is
    a backup. Any other is cancelled, and what it left removed: the next one takes its place.
    """
    ended: list[Run] = []
    for name in process_lock.runs_left_behind(services.state_dir):
        run = _known(name, services)
        if run is None or run.state.final:
            process_lock.forget(services.state_dir, name)
        elif _is_backup_of(run, policy) and is_abandoned(run, services.store, services.state_dir):
            ended.append(_end(run, services))
    return ended


def _known(name: str, services: Services) -> Run | None:
    try:
        return services.store.load(name)
    except RunNotFound:
        return None


def _is_backup_of(run: Run, policy: str) -> bool:
    return run.spec.kind is RunKind.BACKUP and run.spec.policy == policy


def _end(run: Run, services: Services) -> Run:
    if not services.store.rows(run.id, StepKind.COMMIT):
        services.store.cancel(run.id, error=f"{GONE}, and the next backup took its place")
    return drive(run.id, take_up(run.id, services), services)
