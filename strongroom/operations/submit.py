"""Creates runs: from a policy, a request, or a slot that has come due."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cronsim import CronSim

from strongroom.errors import MissingPiece
from strongroom.model import Depth, Selection
from strongroom.operations.restore_run import RestoreOptions
from strongroom.operations.services import Services
from strongroom.operations.steps import FIRST, decide
from strongroom.state.records import Run, RunKind, Spec, Ticket

Submitted = tuple[str, list[Ticket]]

CATCH_UP = timedelta(days=366)
"""How far back an overdue slot is looked for."""


def submit_backup(services: Services, *, policy: str, request_id: str | None = None) -> Submitted:
    """Create a run of a policy and return its id and what to send first."""
    return _create(services, services.pinned(policy).spec, request_id=request_id)


def submit_verify(
    services: Services, *, backup: str, depth: Depth = Depth.DIGEST, request_id: str | None = None
) -> Submitted:
    """Create a run that reads a backup back from every target of its policy."""
    return _create(services, _about(services, RunKind.VERIFY, backup, depth=depth), request_id=request_id)


def submit_repair(services: Services, *, backup: str, request_id: str | None = None) -> Submitted:
    """Create a run that brings a backup's bad replicas up again."""
    return _create(services, _about(services, RunKind.REPAIR, backup), request_id=request_id)


def submit_restore(
    services: Services,
    *,
    backup: str,
    options: RestoreOptions,
    selection: Selection = Selection(),
    request_id: str | None = None,
) -> Submitted:
    """Create a run that restores into a configured destination."""
    spec = _about(
        services, RunKind.RESTORE, backup, selection=selection, options=msgspec.to_builtins(options)
    )
    return _create(services, spec, request_id=request_id)


def submit_drill(
    services: Services, *, policy: str, objective_seconds: float, request_id: str | None = None
) -> Submitted:
    """Create a drill of a policy's newest backup."""
    spec = _about(
        services, RunKind.DRILL, newest(services, policy), options={"objective_seconds": objective_seconds}
    )
    return _create(services, spec, request_id=request_id)


def newest(services: Services, policy: str) -> str:
    """Return the id of a policy's newest backup."""
    found = services.store.backups(policy=policy, limit=1)
    if not found:
        raise MissingPiece(f"there is no backup of policy '{policy}' yet")
    return found[0].backup


def open_due(services: Services, schedules: Mapping[str, str], *, now: float | None = None) -> list[Ticket]:
    """Create the runs whose slot has come: each slot once, whoever asks and however often.

    Args:
        schedules: cron expression (five fields, UTC) by policy.
        now: seconds since the epoch. A slot after it never counts; of several that were
            slept through only the newest is run.
    """
    tickets: list[Ticket] = []
    for policy, schedule in schedules.items():
        due = last_slot(schedule, time.time() if now is None else now)
        if due is None or due <= (services.store.newest_slot(policy) or 0.0):
            continue
        run = _create_in_slot(services, policy, due)
        if run is not None:
            tickets += services.store.take_ready(run.id, window=services.limits.window)
    return tickets


def last_slot(schedule: str, now: float) -> float | None:
    """Return the newest time not after ``now`` that a cron expression names."""
    moment = datetime.fromtimestamp(now, UTC)
    previous = next(iter(CronSim(schedule, moment + timedelta(seconds=1), reverse=True)), None)
    if previous is None or moment - previous > CATCH_UP:
        return None
    return previous.timestamp()


def _create_in_slot(services: Services, policy: str, due: float) -> Run | None:
    spec = services.pinned(policy).spec
    return services.store.create(spec, first=(FIRST[spec.kind],), slot=(policy, due))


def _create(services: Services, spec: Spec, *, request_id: str | None) -> Submitted:
    run = services.store.create(spec, first=(FIRST[spec.kind],), request_id=request_id)
    assert run is not None  # only a slot can be taken already
    return run.id, services.store.take_ready(run.id, window=services.limits.window)


def _about(services: Services, kind: RunKind, backup: str, **fields: Any) -> Spec:
    """Return the spec of a run about an existing backup: its policy's targets and quorum."""
    entry = services.store.backup(backup)
    if entry is None:
        raise MissingPiece(f"the catalog has no backup '{backup}'")
    policy = services.pinned(entry.policy).spec
    return Spec(
        kind=kind,
        policy=entry.policy,
        source=entry.source,
        values=entry.values,
        sealed=policy.sealed,
        targets=policy.targets,
        recipients=policy.recipients,
        quorum=policy.quorum,
        regions=policy.regions,
        backup=backup,
        **fields,
    )


def retry(services: Services, run: str) -> Submitted:
    """Take a failed run up again, from its first step: its report has swept what it staged."""
    kind = services.store.load(run).spec.kind
    services.store.retry(run, decide, first=(FIRST[kind],))
    return run, services.store.take_ready(run, window=services.limits.window)
