"""The jobs: for each kind of run the module that holds its ``JOB``, which loads on first use.

A new job is a module with a ``JOB`` (:class:`strongroom.operations.runs.job.Job`) and a line here.
"""

from __future__ import annotations

from typing import Final

from strongroom.state.records import RunKind

JOBS: Final[dict[RunKind, str]] = {
    RunKind.BACKUP: "strongroom.operations.backup.job",
    RunKind.VERIFY: "strongroom.operations.backup.verify_job",
    RunKind.REPAIR: "strongroom.operations.backup.repair_job",
    RunKind.RESTORE: "strongroom.operations.restore.job",
    RunKind.RECOVERY: "strongroom.operations.recovery.job",
    RunKind.UNDO: "strongroom.operations.restore.undo_job",
    RunKind.DRILL: "strongroom.operations.drills.job",
    RunKind.SCRUB: "strongroom.operations.backup.scrub_job",
    RunKind.ROTATE: "strongroom.operations.rotation.job",
    RunKind.CHECK: "strongroom.operations.checks.job",
    RunKind.DRIFT: "strongroom.operations.drift.job",
    RunKind.PRUNE: "strongroom.operations.retention.prune_job",
    RunKind.ROTATE_SECRET: "strongroom.operations.rotators.job",
}
