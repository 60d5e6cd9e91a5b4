"""Task names, queues and roles: wire format, so explicit and stable.

A queue and the role of the workers that serve it share one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from strongroom.state.records import StepKind

CONTROL, SEAL, TRANSFER, VERIFY, DRILL, RECOVER = "control", "seal", "transfer", "verify", "drill", "recover"
PRUNE: Final = "prune"
SUBMIT, BEAT, WATCH = "submit", "beat", "watch"
METRICS, PAGE = "metrics", "page"
"""Processes that only read: they send no message, so they are no roles and have no key."""

QUEUES: Final = (CONTROL, SEAL, TRANSFER, VERIFY, DRILL, RECOVER, PRUNE)
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

BEAT_TASKS: Final = frozenset({TICK, RECONCILE, RECOVERY_DRILL, SHRED_PENDING, ALERTS, LEDGER})


def step_task(kind: StepKind) -> str:
    """Return the name of the task that performs a kind of step."""
    return f"strongroom.step.{kind.value}"


QUEUE_OF_STEP: Final[Mapping[StepKind, str]] = {
    StepKind.HOOK: CONTROL,
    StepKind.PLAN: CONTROL,
    StepKind.CAPTURE: SEAL,
    StepKind.UPLOAD: TRANSFER,
    StepKind.COMMIT: CONTROL,
    StepKind.VERIFY: VERIFY,
    StepKind.INDEX: SEAL,
    StepKind.INDEX_RECEIPT: CONTROL,
    StepKind.INDEX_UPLOAD: TRANSFER,
    StepKind.REPAIR: TRANSFER,
    StepKind.RESTORE_PLAN: RECOVER,
    StepKind.APPROVE: RECOVER,  # whoever executes asks, by its own configuration
    StepKind.RESTORE: RECOVER,
    StepKind.RESTORE_COMPARE: RECOVER,
    StepKind.RECOVERY_CHECK: RECOVER,
    StepKind.RECOVERY_VALIDATE: RECOVER,
    StepKind.DRILL_PROVE: DRILL,
    StepKind.DRILL_RESTORE: DRILL,
    StepKind.DRILL_COMPARE: DRILL,
    StepKind.DRILL_TEARDOWN: DRILL,
    StepKind.DRILL_LIVE: VERIFY,  # of the pools that always run, the one that opens and reads sources
    StepKind.REWRAP: RECOVER,
    StepKind.ROTATE: RECOVER,
    StepKind.CHECK: VERIFY,  # of the pools that always run, the one that holds identities
    StepKind.DRIFT: VERIFY,
    StepKind.FREEZE: CONTROL,
    StepKind.MARK: PRUNE,
    StepKind.DELETE: PRUNE,
    StepKind.ROTATE_SECRET_PLAN: RECOVER,  # it reads secrets, for their tags
    StepKind.ROTATE_SECRET: RECOVER,
    StepKind.REPORT: CONTROL,
}
"""The queue that carries each kind of step."""

QUEUE_OF: Final[Mapping[str, str]] = {
    **dict.fromkeys(ENTRY_TASKS | BEAT_TASKS, CONTROL),
    SHRED_PENDING: VERIFY,  # it tries whether a key still opens, which no other pool can that always runs
    **{step_task(kind): queue for kind, queue in QUEUE_OF_STEP.items()},
}
