"""Which role may send what: a stolen key of one pool is not the key of the house.

A pool sends what the runs that its own steps belong to may need next, and nothing else: a
seal worker can make an upload due, never a restore. It may also send again what stands on
its own queue, for a task whose process was killed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from strongroom.state.records import RunKind, StepKind
from workers import names

STEPS_OF: Final[Mapping[RunKind, frozenset[StepKind]]] = {
    RunKind.BACKUP: frozenset(
        {
            StepKind.PLAN,
            StepKind.CAPTURE,
            StepKind.UPLOAD,
            StepKind.COMMIT,
            StepKind.INDEX,
            StepKind.INDEX_RECEIPT,
            StepKind.INDEX_UPLOAD,
            StepKind.VERIFY,
            StepKind.REPORT,
        }
    ),
    RunKind.VERIFY: frozenset({StepKind.PLAN, StepKind.VERIFY, StepKind.REPORT}),
    RunKind.SCRUB: frozenset({StepKind.PLAN, StepKind.VERIFY, StepKind.REPORT}),
    RunKind.REPAIR: frozenset(
        {StepKind.PLAN, StepKind.REPAIR, StepKind.COMMIT, StepKind.VERIFY, StepKind.REPORT}
    ),
    RunKind.RESTORE: frozenset(
        {
            StepKind.PLAN,
            StepKind.RESTORE_PLAN,
            StepKind.APPROVE,
            StepKind.RESTORE,
            StepKind.RESTORE_COMPARE,
            StepKind.REPORT,
        }
    ),
    RunKind.RECOVERY: frozenset(
        {
            StepKind.PLAN,
            StepKind.RECOVERY_CHECK,
            StepKind.RESTORE_PLAN,
            StepKind.APPROVE,
            StepKind.RESTORE,
            StepKind.RESTORE_COMPARE,
            StepKind.RECOVERY_VALIDATE,
            StepKind.REPORT,
        }
    ),
    RunKind.UNDO: frozenset(
        {StepKind.PLAN, StepKind.RESTORE_PLAN, StepKind.APPROVE, StepKind.RESTORE, StepKind.REPORT}
    ),
    RunKind.DRILL: frozenset(
        {
            StepKind.PLAN,
            StepKind.DRILL_PROVE,
            StepKind.DRILL_RESTORE,
            StepKind.DRILL_COMPARE,
            StepKind.DRILL_TEARDOWN,
            StepKind.DRILL_LIVE,
            StepKind.REPORT,
        }
    ),
    RunKind.DRIFT: frozenset({StepKind.PLAN, StepKind.DRIFT, StepKind.FREEZE, StepKind.REPORT}),
    RunKind.PRUNE: frozenset({StepKind.PLAN, StepKind.MARK, StepKind.DELETE, StepKind.REPORT}),
    RunKind.ROTATE: frozenset({StepKind.PLAN, StepKind.REWRAP, StepKind.ROTATE, StepKind.REPORT}),
    RunKind.ROTATE_SECRET: frozenset(
        {
            StepKind.PLAN,
            StepKind.ROTATE_SECRET_PLAN,
            StepKind.APPROVE,
            StepKind.ROTATE_SECRET,
            StepKind.REPORT,
        }
    ),
    RunKind.CHECK: frozenset({StepKind.CHECK, StepKind.REPORT}),
}


def _pool_may_send(queue: str) -> frozenset[str]:
    runs = [steps for steps in STEPS_OF.values() if any(names.QUEUE_OF_STEP[kind] == queue for kind in steps)]
    own = {task for task, home in names.QUEUE_OF.items() if home == queue}
    return frozenset(names.step_task(kind) for steps in runs for kind in steps) | own


MAY_SEND: Final[Mapping[str, frozenset[str]]] = {
    names.SUBMIT: names.ENTRY_TASKS,
    names.BEAT: names.BEAT_TASKS,
    names.WATCH: frozenset(),
    **{queue: _pool_may_send(queue) for queue in names.QUEUES},
    names.TRANSFER: _pool_may_send(names.TRANSFER) | names.INSTEAD_OF_BEAT,
}

LOOKING: Final = frozenset(
    {
        "ping",
        "stats",
        "conf",
        "active",
        "active_queues",
        "registered",
        "reserved",
        "revoked",
        "scheduled",
        "query_task",
        "enable_events",
        "heartbeat",
    }
)
"""Remote-control commands that change nothing a backup depends on."""

MAY_COMMAND: Final[Mapping[str, frozenset[str]]] = {names.SUBMIT: LOOKING, names.WATCH: LOOKING}
"""Nobody may shut down, revoke, rate-limit or re-queue by message: signals and the run
record do that, so a broker in the wrong hands cannot."""
