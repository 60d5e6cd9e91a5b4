"""What came of a rotation, by its rows: of each backup, and of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from strongroom.operations import recorded_errors
from strongroom.operations.rotation.results import BackupRotated, SliceRewrapped, backups_of
from strongroom.operations.runs.job import Ending, read_result
from strongroom.operations.services import Services
from strongroom.state.records import ROTATING, Run, RunKind, RunState, StepKind, StepRow, StepState
from strongroom.state.store import RunStore
from strongroom.words import plural, verb


def results(store: RunStore, run: str) -> list[Mapping[str, Any]]:
    """Return, as documents, what each backup of a rotation was and is, in the order of the plan."""
    rotation = store.load(run)
    if "backups" not in rotation.facts:
        return []
    done = rotated_backups(rotation, (row for kind in ROTATING for row in store.rows(run, kind)))
    return [msgspec.to_builtins(done[backup]) for backup in backups_of(rotation) if backup in done]


def rotated_backups(run: Run, rows: Iterable[StepRow]) -> dict[str, BackupRotated]:
    """Return, by its name, what each backup was and is that these rows are about."""
    done = (backup for row in rows if row.result for backup in _read_rotated(run, row))
    return {backup.backup: backup for backup in done}


def _read_rotated(run: Run, row: StepRow) -> Sequence[BackupRotated]:
    match row.step.kind:
        case StepKind.REWRAP:
            return read_result(run, row.step, row.result, SliceRewrapped).backups
        case StepKind.ROTATE:
            return (read_result(run, row.step, row.result, BackupRotated),)
        case _:
            return ()


RECENT = 100
"""How many of a policy's rotations are read."""


def generations(store: RunStore, *, policy: str, backup: str) -> dict[str, int]:
    """Return the newest generation of each wrapping key of a backup that a rotation on record reached."""
    newest: dict[str, int] = {}
    for run in store.runs_of(policy, RunKind.ROTATE, limit=RECENT):
        rows = (row for kind in ROTATING for row in store.rows(run.id, kind))
        rotated = rotated_backups(run, rows).get(backup)
        for key in (rotated.keys or ()) if rotated is not None else ():
            newest[key.key] = max(newest.get(key.key, 0), key.generation)
    return newest


def outcome(run: Run, services: Services) -> Ending:
    """Judge a rotation: every backup on every target, some, or none.

    A slice that was given up is no fault: each of its backups got a step of its own. What no row tells of
    was not rotated, whatever the rows say of themselves: one could have been edited, or written by a process
    of another version, with slices of another size.
    """
    plan = backups_of(run)
    backups = len(plan)
    rows = [row for kind in ROTATING for row in services.store.rows(run.id, kind)]
    bad = [row for row in rows if row.step.kind is StepKind.ROTATE and row.state is not StepState.DONE]
    done = rotated_backups(run, rows)
    untold = set(plan) - done.keys() - {plan[row.step.piece] for row in bad if row.step.piece < backups}
    if bad and len(bad) == backups:
        happened, to_do = recorded_errors.apart(bad[0].error)
        return Ending(RunState.FAILED, recorded_errors.joined(f"{happened} (no backup was rotated)", to_do))
    if bad:
        return Ending(
            RunState.DEGRADED,
            f"{len(bad)} of {plural(backups, 'backup')} {verb(len(bad), 'were')} not rotated: {bad[0].error}",
        )
    if untold:
        missed = f"{len(untold)} of {plural(backups, 'backup')} {verb(len(untold), 'were')}"
        return Ending(RunState.DEGRADED, f"{missed} not looked at; repeat the rotation")
    if left := _left_over(run, done, services):
        return Ending(RunState.DEGRADED, left)
    return Ending(RunState.DONE)


def _left_over(run: Run, done: Mapping[str, BackupRotated], services: Services) -> str:
    """Say what a rotation that came to its end left as it was."""
    if short := [backup.missed for backup in done.values() if backup.missed]:
        names = ", ".join(sorted({name for missed in short for name in missed}))
        return f"{plural(len(short), 'backup')} not yet on {names}; repeat the rotation"
    if unopened := [backup.unopened for backup in done.values() if backup.unopened]:
        indexes = f"the indexes of names of {plural(len(unopened), 'backup')} open as before"
        return f"{indexes} ({unopened[0]}); repeat the rotation with the key that opens them"
    if late := being_made(services, run.spec.policy):
        return f"backup {late[0]} is being made for other keys; repeat the rotation then"
    return ""


def being_made(services: Services, policy: str) -> list[str]:
    """Name the backups of a policy that are not finished and seal for other keys than it names now.

    A run freezes its recipients when it begins: one that began before the configuration
    changed comes to its end after a rotation listed what there was.
    """
    own = services.pinned(policy).spec.recipients
    return [
        run.id
        for run in services.store.active()
        if run.spec.kind is RunKind.BACKUP and run.spec.policy == policy and run.spec.recipients != own
    ]
