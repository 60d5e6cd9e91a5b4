"""Creates runs: from a policy, a request, or a slot that has come due."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from strongroom.errors import ConfigError, MissingPiece, UsageError
from strongroom.model import COMMAND, Depth, Selection
from strongroom.operations.archive.file_backups import in_a_file, path_of
from strongroom.operations.archive.locks import left_unlocked
from strongroom.operations.archive.quarantine import quarantined
from strongroom.operations.backup import repair
from strongroom.operations.restore.step import RestoreOptions
from strongroom.operations.runs.decide import FIRST, decide
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.operations.shredding import record
from strongroom.schedule import last_slot
from strongroom.state.records import Run, RunKind, Spec, Ticket

Submitted = tuple[str, list[Ticket]]


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
    return _create(services, _drill_spec(services, policy, objective_seconds), request_id=request_id)


def _drill_spec(services: Services, policy: str, objective_seconds: float) -> Spec:
    options = {"objective_seconds": objective_seconds}
    return _about(services, RunKind.DRILL, newest(services, policy), options=options)


def newest(services: Services, policy: str) -> str:
    """Return the id of a policy's newest backup that is to be kept, and may be restored from."""
    found = _newest(services, policy)
    if found is None:
        raise MissingPiece(f"there is no backup of policy '{policy}' yet")
    return found


def _newest(services: Services, policy: str) -> str | None:
    aside = record.asked(services.store, services.signer_fingerprints) | quarantined(services).keys()
    kept = (one.backup for one in services.store.backups(policy=policy) if one.backup not in aside)
    return next(kept, None)


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
        if due is None or due <= (services.store.newest_slot(entry.slot) or 0.0):
            continue
        spec = _scheduled_spec(services, entry)
        run = services.store.create(spec, first=(FIRST[spec.kind],), slot=(entry.slot, due)) if spec else None
        if run is not None:
            tickets += services.store.take_ready(run.id, window=services.limits.window)
    return tickets


def open_repairs(services: Services, schedule: str, *, now: float | None = None) -> list[Ticket]:
    """Create a repair for each degraded backup, once a slot. It goes by the record (``repair.BY_RECORD``).

    Backups of policies that are configured no more are left: nobody says where they belong.
    """
    moment = time.time() if now is None else now
    due = last_slot(schedule, moment) or 0.0
    tickets: list[Ticket] = []
    for backup in degraded(services):
        slot = f"repair {backup}"
        if due <= (services.store.newest_slot(slot) or 0.0) or _under_way(services, backup):
            continue
        with suppress(ConfigError):
            spec = _about(services, RunKind.REPAIR, backup, options=repair.BY_RECORD)
            if run := services.store.create(spec, first=(FIRST[spec.kind],), slot=(slot, due)):
                tickets += services.store.take_ready(run.id, window=services.limits.window)
    return tickets


def degraded(services: Services) -> list[str]:
    """Return the backups that have a bad replica, by the catalog, or one that could not be locked."""
    store = services.store
    shredding = record.asked(store, services.signer_fingerprints)
    unlocked = [backup for backup in left_unlocked(store) if store.backup(backup)]
    found = dict.fromkeys((*store.with_bad_replicas(), *unlocked))
    return sorted((one for one in found if one not in shredding and _on_targets(services, one)), reverse=True)


def _on_targets(services: Services, backup: str) -> bool:
    """Tell whether a policy made a backup: what a command wrote into a file is made anew, not repaired."""
    entry = services.store.backup(backup)
    return entry is None or not in_a_file(entry)


def _under_way(services: Services, backup: str) -> bool:
    """Tell whether a backup is still being made, or repaired."""
    return any(
        run.id == backup or (run.spec.kind, run.spec.backup) == (RunKind.REPAIR, backup)
        for run in services.store.active()
    )


def _scheduled_spec(services: Services, entry: Scheduled) -> Spec | None:
    """Return what a slot runs; ``None`` for a drill of a policy that has no backup yet."""
    if entry.objective_seconds is None:
        return services.pinned(entry.policy).spec
    if _newest(services, entry.policy) is None:
        return None
    return _drill_spec(services, entry.policy, entry.objective_seconds)


def _create(services: Services, spec: Spec, *, request_id: str | None) -> Submitted:
    run = services.store.create(spec, first=(FIRST[spec.kind],), request_id=request_id)
    assert run is not None  # only a slot can be taken already
    return run.id, first_tickets(services, run.id)


def first_tickets(services: Services, run: str) -> list[Ticket]:
    """Take what is due of a run that was just put on record, where this process hands out work."""
    return services.store.take_ready(run, window=services.limits.window) if services.hands_out else []


def _about(services: Services, kind: RunKind, backup: str, **fields: Any) -> Spec:
    """Return the spec of a run about an existing backup: its policy's targets and quorum.

    Raises:
        BackupShredded: nothing brings it up or back.
        UsageError: a command made it: no policy says where it belongs.
    """
    record.check(services.store, backup, services.signer_fingerprints)
    entry = services.store.backup(backup)
    if entry is None:
        raise MissingPiece(f"the catalog has no backup '{backup}'")
    if in_a_file(entry):
        raise _made_by_a_command(services, backup)
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
        providers=policy.providers,
        keep_days=policy.keep_days,
        backup=backup,
        **fields,
    )


def retry(services: Services, run: str) -> Run:
    """Take a failed run up again, from its first step: its report has swept what it staged.

    Raises:
        UsageError: it has not failed, or it made a backup, which starting over would damage; or a
            command began it, whose file is gone with its process.
    """
    found = services.store.load(run)
    if found.spec.policy == COMMAND:
        raise _made_by_a_command(services, run)
    if found.spec.kind is RunKind.BACKUP and "manifest" in found.facts:
        raise UsageError(f"run {run} did make a backup", hint=f"Mend it: 'strongroom repair {run}'.")
    return services.store.retry(run, decide, first=(FIRST[found.spec.kind],))


def _made_by_a_command(services: Services, run: str) -> UsageError:
    path = path_of(services, run)
    return UsageError(
        f"Run {run} was made by a command, for the file {path}: no policy says where it belongs.",
        hint=f"Nothing was changed. Type that command again to make it anew. If {path.name} is there, "
        f"'strongroom verify-backup {path}' says whether it is whole.",
    )
