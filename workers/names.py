"""Task names, queues and roles: wire format, so explicit and stable.

A queue and the role of the workers that serve it share one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from strongroom.model import Role
from strongroom.state.records import Pool, StepKind

QUEUES: Final = tuple(pool.value for pool in Pool)
CONTROL, SEAL, TRANSFER, VERIFY, DRILL, RECOVER, PRUNE = QUEUES
SUBMIT, BEAT, WATCH = Role.SUBMIT.value, Role.BEAT.value, Role.WATCH.value
METRICS, PAGE = "metrics", "page"
"""Processes that only read: they send no message, so they are no roles and have no key."""

ROLES: Final = (SUBMIT, BEAT, WATCH, *QUEUES)

BACKUP_FULL: Final = "strongroom.backup.full"
BACKUP_METADATA: Final = "strongroom.backup.metadata"
VERIFY_BACKUP: Final = "strongroom.verify"
UNDO_RESTORE: Final = "strongroom.undo"
REPAIR_BACKUP: Final = "strongroom.repair"
RESTORE_BACKUP: Final = "strongroom.restore"
RECOVER_BACKUP: Final = "strongroom.recover"
RECOVERY_DRILL: Final = "strongroom.drill"
ROTATE_KEYS: Final = "strongroom.rotate"
ROTATE_SECRETS: Final = "strongroom.rotate-secret"
RUN_ENTRY: Final = "strongroom.schedule.run"
TICK: Final = "strongroom.tick"
RECONCILE: Final = "strongroom.reconcile"
SHRED_PENDING: Final = "strongroom.shred.pending"
ALERTS: Final = "strongroom.watch.alerts"
LEDGER: Final = "strongroom.ledger.publish"

ENTRY_TASKS: Final = frozenset(
    {
        BACKUP_FULL,
        BACKUP_METADATA,
        VERIFY_BACKUP,
        REPAIR_BACKUP,
        RESTORE_BACKUP,
        RECOVER_BACKUP,
        UNDO_RESTORE,
        RECOVERY_DRILL,
        ROTATE_KEYS,
        ROTATE_SECRETS,
        RUN_ENTRY,
    }
)
INSTEAD_OF_BEAT: Final = frozenset({TICK, RECONCILE, ALERTS})
"""What a transfer worker asks for while beat is silent. Each only does what is due."""

SECONDS_BETWEEN: Final[Mapping[str, float]] = {
    TICK: 30.0,
    RECONCILE: 5.0,
    SHRED_PENDING: 3600.0,
    ALERTS: 900.0,
    LEDGER: 3600.0,
}
"""How often beat asks for each of its tasks."""
BEAT_TASKS: Final = frozenset(SECONDS_BETWEEN)


def step_task(kind: StepKind) -> str:
    """Return the name of the task that performs a kind of step."""
    return f"strongroom.step.{kind.value}"


HOME_OF: Final[Mapping[str, str]] = {
    **dict.fromkeys(ENTRY_TASKS | BEAT_TASKS, CONTROL),
    SHRED_PENDING: VERIFY,  # it tries whether a key still opens, which no other pool can that always runs
}
"""The queue of each task that performs no step. That of a step its action says: see ``workers/rights.py``."""
