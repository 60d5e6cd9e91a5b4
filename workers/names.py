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
METRICS, PAGE = "metrics", Role.PAGE.value
"""Processes that read. The first sends no message, so it is no role and has no key; nor has the page one, as
long as nobody may act on it."""

ROLES: Final = (SUBMIT, BEAT, WATCH, PAGE, *QUEUES)


def roles_in_use(*, page_acts: bool) -> tuple[str, ...]:
    """Return the roles that have a key and a user of the broker: the page only where people may act on it."""
    return tuple(role for role in ROLES if page_acts or role != PAGE)


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
PAGE_RUN: Final = "strongroom.page.run"
PAGE_RETRY: Final = "strongroom.page.retry"
PAGE_ACKNOWLEDGE: Final = "strongroom.page.acknowledge"

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
PAGE_TASKS: Final = frozenset({PAGE_RUN, PAGE_RETRY, PAGE_ACKNOWLEDGE})
"""What people may ask for on the page. Nobody else sends these: they put a person's name on record."""
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
    **dict.fromkeys(ENTRY_TASKS | BEAT_TASKS | PAGE_TASKS, CONTROL),
    SHRED_PENDING: VERIFY,  # it tries whether a key still opens, which no other pool can that always runs
}
"""The queue of each task that performs no step. That of a step its action says: see ``workers/rights.py``."""
