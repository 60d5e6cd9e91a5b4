"""What came of a rotation, by its rows: of each backup, and of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from strongroom.operations import recorded_errors
from strongroom.operations.runs.job import Ending
from strongroom.operations.services import Services
from strongroom.state.records import ROTATING, Run, RunKind, RunState, StepKind, StepRow, StepState
from strongroom.state.store import RunStore
from strongroom.words import plural, verb


def results(store: RunStore, run: str) -> list[Mapping[str, Any]]:
    """Return what each backup that a rotation did was and is, in the order of its plan."""
    done = of_rows(row for kind in ROTATING for row in store.rows(run, kind))
    return [done[backup] for backup in store.load(run).facts.get("backups", ()) if backup in done]


def of_rows(rows: Iterable[StepRow]) -> dict[str, Mapping[str, Any]]:
    """Return what each backup was and is that these rows of a rotation are about, by its name."""
    done = (row.result for row in rows if row.result and row.step.kind in ROTATING)
    return {one["backup"]: one for result in done for one in result.get("backups", (result,))}


RECENT = 100
"""How many rotations of a policy are looked through."""


def generations(store: RunStore, *, policy: str, backup: str) -> dict[str, int]:
    """Return the newest generation of each wrapping key of a backup that a rotation on record reached."""
    found: dict[str, int] = {}
    for run in store.runs_of(policy, RunKind.ROTATE, limit=RECENT):
        rows = (row for kind in ROTATING for row in store.rows(run.id, kind))
        for key in of_rows(rows).get(backup, {}).get("keys", ()):
            found[key["key"]] = max(found.get(key["key"], 0), key["generation"])
    return found


def outcome(run: Run, services: Services) -> Ending:
    """Judge a rotation: every backup on every target, some, or none.

    A slice that was given up is no fault: each of its backups got a step of its own. What no row tells of
    was not rotated, whatever the rows say of themselves: one could have been edited, or written by a process
    of another version, with slices of another size.
    """
    plan = run.facts["backups"]
    backups = len(plan)
    rows = [row for kind in ROTATING for row in services.store.rows(run.id, kind)]
    bad = [row for row in rows if row.step.kind is StepKind.ROTATE and row.state is not StepState.DONE]
    done = of_rows(rows)
    untold = set(plan) - done.keys() - {plan[row.step.piece] for row in bad if row.step.piece < backups}
    short = [missed for one in done.values() if (missed := one.get("missed"))]
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
    if short:
        names = ", ".join(sorted({name for missed in short for name in missed}))
        count = plural(len(short), "backup")
        return Ending(RunState.DEGRADED, f"{count} not yet on {names}; repeat the rotation")
    if late := being_made(services, run.spec.policy):
        made = f"backup {late[0]} is being made for other keys"
        return Ending(RunState.DEGRADED, f"{made}; repeat the rotation then")
    return Ending(RunState.DONE)


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
