"""The rotation as a job: created, performed in slices, and what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.engine import process_lock, run_log
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.drive import end, is_abandoned
from strongroom.operations.engine.jobs import Ending, Job, Result, RunAccount, StepAction, Where, read_result
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import recover
from strongroom.operations.engine.submit import Submitted, submit
from strongroom.operations.rotation import rotate
from strongroom.operations.rotation.rotate import (
    BackupRotated,
    BackupRotationPlan,
    BackupRotator,
    RotateOptions,
    SliceRewrapped,
    backups_of,
    options_of,
)
from strongroom.state.records import (
    ROTATING,
    Pool,
    Run,
    RunKind,
    RunState,
    RunStep,
    Spec,
    StepConsequence,
    StepKind,
    StepRow,
    StepState,
    Tally,
)
from strongroom.state.store import RunStore
from strongroom.words import plural, verb

# -- rewrap: a slice of a rotation's plan in one step, since a step costs more than a re-wrapping ---
#
# A backup of a slice that fails becomes a ``ROTATE`` step of its own, with its own retries, pauses and row.
# So it costs the others nothing. When a step's time is up, the rest of its slice becomes further slices. So a
# slow key or a rate limit makes short steps, no step outlives a limit, and idle workers take from the rest.
#
# Both are recorded in the transaction that inserts the steps they lead to. A process that dies before it
# loses only time: the next one finds each envelope that is there. A slice that was started too often without
# an outcome falls apart into steps of single backups, and the one that kills its worker is found among them.
#
# Where a slice ends follows from where it begins, so nothing has to be agreed on, or frozen.


log = logging.getLogger(__name__)

SLICE, MOST = 32, 128
"""Backups in the last and in the first slices of a plan. A step costs some ten milliseconds, a re-wrapping
one or two. So there are few steps while much is left, and short ones at the end, so that all processes end
together."""

STEP_SECONDS = 5.0
"""After so long a step begins no further backup. So little is done again if its process dies."""


def end_of(start: int, backups: int) -> int:
    """Return the place in the plan before which the slice ends that begins at ``start``.

    The first has one backup: what is wrong with a rotation shows before others are begun, and who
    forks others off has been asked by then for what has to be asked. The next ones have a quarter of
    what is left, as a power of two from :data:`SLICE` to :data:`MOST`; one that begins within these
    ends where the largest power of two that fits does, so that a rest makes several (2, 4, 16 of 22)
    for several processes. So no slice reaches beyond one that it began within.
    """
    if start == 0:
        return min(1, backups)
    at = start - 1
    share = max(SLICE, min(MOST, (backups - start) // 4))
    size = min(1 << share.bit_length() - 1, at & -at or MOST)
    return min(start + size, backups)


def slices(begin: int, end: int, *, backups: int) -> Iterator[RunStep]:
    """Yield the steps that re-wrap this part of a plan of so many ``backups``."""
    while begin < end:
        yield RunStep(StepKind.REWRAP, begin)
        begin = end_of(begin, backups)


def first_steps(run: Run, backups: int) -> tuple[RunStep, ...]:
    """Return the steps that a plan of so many backups leads to."""
    if options_of(run).reencrypt:
        return tuple(RunStep(StepKind.ROTATE, piece) for piece in range(backups))
    return tuple(slices(0, backups, backups=backups))


def following(run: Run, step: RunStep, rewrapped: SliceRewrapped | None) -> tuple[RunStep, ...]:
    """Return the steps that a slice leads to; ``rewrapped`` is ``None`` if it was given up."""
    backups = len(backups_of(run))
    end = end_of(step.piece, backups)
    alone = range(step.piece, end) if rewrapped is None else rewrapped.alone
    rest = () if rewrapped is None else slices(rewrapped.rest, end, backups=backups)
    return (*(RunStep(StepKind.ROTATE, piece) for piece in alone), *rest)


def rewrap(run: Run, step: RunStep, services: Services) -> SliceRewrapped:
    """Re-wrap the backups of a slice."""
    plan = backups_of(run)
    end = end_of(step.piece, len(plan))
    rotator = BackupRotator(run, services, plan[step.piece : end])
    done: list[BackupRotated] = []
    alone: list[int] = []
    until = time.monotonic() + STEP_SECONDS
    for piece in range(step.piece, end):
        if piece > step.piece and time.monotonic() > until:
            return SliceRewrapped(backups=tuple(done), alone=tuple(alone), rest=piece)
        try:
            done.append(rotator.rotate(plan[piece]))
        except StrongroomError as error:
            log.info("rewrap-alone", extra={"run": run.id, "piece": piece, "error_class": error.code})
            alone.append(piece)
    return SliceRewrapped(backups=tuple(done), alone=tuple(alone), rest=end)


# -- What came of a rotation, by its rows: of each backup, and of all of them -------------------


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
        happened, to_do = run_log.apart(bad[0].error)
        return Ending(RunState.FAILED, run_log.joined(f"{happened} (no backup was rotated)", to_do))
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


# -- Creates rotations, and says which are going on ---------------------------------------------


DAY = 86_400.0
WAITED = 7 * DAY
"""How long a rotation waits for the recover workers before a daily reminder."""
_REMINDED = {RunKind.ROTATE: "rotation", RunKind.ROTATE_SECRET: "rotation of secrets"}

RECENT_RUNS = 1000
"""How many of a policy's backups are searched for one from before a slot."""


def submit_rotation(
    services: Services,
    *,
    policy: str,
    options: RotateOptions | None = None,
    request_id: str | None = None,
    take_over: bool = False,
) -> Submitted:
    """Create a rotation of a policy's backups to the recipients that it names now.

    Args:
        take_over: end an unfinished one that nobody is working on: its process died, or the
            pool that would perform it is stopped. What it did is found and not done again.

    Raises:
        UsageError: another rotation of this policy is going on; or the policy seals nothing.
    """
    spec = services.pinned(policy).spec
    if not spec.sealed:
        raise UsageError(f"Policy '{policy}' seals nothing, so there is nothing to rotate.", hint="")
    for other in _other_rotations(services, policy, request_id):
        _end_rotation(other, services, take_over=take_over)
    return submit(services, make_spec(spec, options or RotateOptions()), request_id=request_id)


def make_spec(spec: Spec, options: RotateOptions) -> Spec:
    """Return the rotation of a policy's backups."""
    return msgspec.structs.replace(spec, kind=RunKind.ROTATE, options=msgspec.to_builtins(options))


def has_older_backup(services: Services, policy: str, due: float) -> bool:
    """Tell whether a policy has a backup from before a slot."""
    backups = services.store.backups(policy=policy, limit=RECENT_RUNS)
    return any(datetime.fromisoformat(entry.created_at).timestamp() < due for entry in backups)


def is_rotating(services: Services, policy: str) -> bool:
    """Tell whether a rotation of a policy is going on."""
    return any(_other_rotations(services, policy, None))


def remind(services: Services, *, now: float | None = None) -> None:
    """Leave an event, once a day, that a rotation waits, of backups or of secrets: the recover workers are
    normally stopped."""
    moment = time.time() if now is None else now
    for run in services.store.active():
        name = f"reminder {_REMINDED.get(run.spec.kind)} {run.spec.policy}"
        waited = moment - run.created_at
        if run.spec.kind not in _REMINDED or waited < WAITED:
            continue
        if services.store.heartbeats().get(name, DAY) >= DAY:
            services.store.event("rotation.overdue", run=run.id, policy=run.spec.policy)
            services.store.heartbeat(name)


def _other_rotations(services: Services, policy: str, request_id: str | None) -> Iterator[Run]:
    for run in services.store.active():
        same = request_id is not None and run.request_id == request_id
        if run.spec.kind is RunKind.ROTATE and run.spec.policy == policy and not same:
            yield run


def _end_rotation(run: Run, services: Services, *, take_over: bool) -> None:
    """Two at once lose nothing, but take turns in undoing each other's work.

    One whose process was killed is nobody's: the kernel says so at once, its lease only later.
    """
    if is_abandoned(run, services.store, services.state_dir):
        gone = process_lock.status(services.state_dir, run.id).gone
        services.store.forsake(run.id, owners=gone)
    recover(services)
    tally = services.store.tally(run.id)
    worked_on = any(tally.of(kind, states=(StepState.RUNNING,)) for kind in ROTATING)
    if worked_on or not take_over:
        raise UsageError(
            f"Rotation {run.id} of policy '{run.spec.policy}' is going on.",
            hint=f"Let it end, or end it with 'strongroom runs cancel {run.id}'. If a process of another "
            "host did "
            f"it and died, its lease ends within {services.limits.lease:g} s: repeat it then.",
        )
    services.store.cancel(run.id, error="another rotation replaced it")
    end(run.id, services)


# -- The rotation as a job: plan → rewrap × slices, rotate × what goes alone → report -----------


REPORT = RunStep(StepKind.REPORT)


class RotateJob(Job):
    """Rotates the backups of a policy to the recipients that it names now.

    It has no ``terms``: a rotation asks the configuration itself whom it seals to.
    """

    first = RunStep(StepKind.PLAN)
    keeps_steps = True
    opens = True
    seals = True
    reads = True
    actions: ClassVar[Mapping[StepKind, StepAction[Any]]] = {
        StepKind.PLAN: StepAction(rotate.plan, BackupRotationPlan, Pool.CONTROL),
        StepKind.REWRAP: StepAction(
            rewrap, SliceRewrapped, Pool.RECOVER, tolerated=True, where=Where.FORKED_AFTER_FIRST
        ),
        StepKind.ROTATE: StepAction(rotate.rotate, BackupRotated, Pool.RECOVER, tolerated=True),
    }

    def decide(self, run: Run, tally: Tally, step: RunStep, result: Result) -> StepConsequence:
        if isinstance(result, BackupRotationPlan):
            return StepConsequence(follow=first_steps(run, result.plan.pieces) or (REPORT,))
        if step.kind is StepKind.REWRAP and (follow := _after_slice(run, step, result)):
            return StepConsequence(follow=follow)
        busy = any(tally.unsettled(kind) for kind in ROTATING)
        return StepConsequence() if busy else StepConsequence(follow=(REPORT,))

    def left_behind(self, run: Run, rows: Sequence[StepRow]) -> str:
        return "every backup opens, some for the new keys already"

    def account(self, run: Run, rows: Sequence[StepRow]) -> RunAccount:
        """Count the backups: a step may be about many."""
        if "backups" not in run.facts:
            return RunAccount()
        done, plan = rotated_backups(run, rows), backups_of(run)
        told = (("rotated", f"{len(done)} of {plural(len(plan), 'backup')}"),)
        return RunAccount(told, {"rotated": {"done": len(done), "of": len(plan)}})

    def outcome(self, run: Run, services: Services) -> Ending:
        return outcome(run, services)

    def scheduled_entries(self, entry: Scheduled, services: Services) -> Iterable[Scheduled]:
        """Return an entry for each policy. A rotation that is going on already is left to end."""
        policies = (name for name in entry.options["policies"] if not is_rotating(services, name))
        return (entry.about(name, policy=name) for name in policies)

    def scheduled_spec(self, entry: Scheduled, services: Services, due: float) -> Spec | None:
        """Return the rotation of a policy that has backups from before the slot.

        It renews: what opens for the same keys is wrapped under the newest versions of them.
        """
        if not has_older_backup(services, entry.policy, due):
            return None
        return make_spec(
            services.pinned(entry.policy).spec, RotateOptions(renew=True, rate=entry.options["rate"])
        )


JOB = RotateJob()


def _after_slice(run: Run, step: RunStep, result: Result) -> tuple[RunStep, ...]:
    return following(run, step, result if isinstance(result, SliceRewrapped) else None)
