"""Creates rotations, and says which are going on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import msgspec

from strongroom.errors import UsageError
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.operations.runs import process_lock
from strongroom.operations.runs.abandoned import is_abandoned
from strongroom.operations.runs.drive import end
from strongroom.operations.runs.steps import recover
from strongroom.operations.runs.submit import Submitted, submit
from strongroom.operations.services import Services
from strongroom.state.records import ROTATING, Run, RunKind, Spec, StepState

DAY = 86_400.0
WAITED = 7 * DAY
"""How long a rotation waits for the recover workers before a daily reminder."""
_REMINDED = {RunKind.ROTATE: "rotation", RunKind.ROTATE_SECRET: "rotation of secrets"}

RECENT = 1000
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
    backups = services.store.backups(policy=policy, limit=RECENT)
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
