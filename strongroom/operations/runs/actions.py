"""What each step of each kind of run does.

A kind's actions are imported when a run of it first needs them: a backup is not to load, at each start of
a command line, what drills and rotates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from strongroom.operations.services import Services
from strongroom.state.records import Run, RunKind, Step, StepKind

Action = Callable[[Run, Step, Services], dict[str, Any]]
Actions = Mapping[StepKind, Action]


def _backup() -> Actions:
    from strongroom.operations.backup.capture import capture  # noqa: PLC0415
    from strongroom.operations.backup.commit import commit  # noqa: PLC0415
    from strongroom.operations.backup.plan import plan  # noqa: PLC0415
    from strongroom.operations.backup.upload import upload  # noqa: PLC0415
    from strongroom.operations.backup.verify import verify  # noqa: PLC0415

    return {
        StepKind.PLAN: plan,
        StepKind.CAPTURE: capture,
        StepKind.UPLOAD: upload,
        StepKind.COMMIT: commit,
        StepKind.VERIFY: verify,
    }


def _verify() -> Actions:
    from strongroom.operations.backup.repair import inventory  # noqa: PLC0415
    from strongroom.operations.backup.verify import verify  # noqa: PLC0415

    return {StepKind.PLAN: inventory, StepKind.VERIFY: verify}


def _repair() -> Actions:
    from strongroom.operations.backup.repair import publish, repair  # noqa: PLC0415

    return {**_verify(), StepKind.REPAIR: repair, StepKind.COMMIT: publish}


def _restore() -> Actions:
    from strongroom.operations.restore.step import restore_step  # noqa: PLC0415

    return {StepKind.RESTORE: restore_step}


def _drill() -> Actions:
    from strongroom.operations.rehearsal import drill  # noqa: PLC0415

    return {
        StepKind.DRILL_RESTORE: drill.restore,
        StepKind.DRILL_COMPARE: drill.compare,
        StepKind.DRILL_TEARDOWN: drill.teardown,
    }


def _rotate() -> Actions:
    from strongroom.operations.rotation import batch, rotate  # noqa: PLC0415

    return {StepKind.PLAN: rotate.plan, StepKind.REWRAP: batch.rewrap, StepKind.ROTATE: rotate.rotate}


_OF: Mapping[RunKind, Callable[[], Actions]] = {
    RunKind.BACKUP: _backup,
    RunKind.VERIFY: _verify,
    RunKind.REPAIR: _repair,
    RunKind.RESTORE: _restore,
    RunKind.DRILL: _drill,
    RunKind.ROTATE: _rotate,
}


@cache
def actions_of(kind: RunKind) -> Actions:
    """Return what a kind's steps do, apart from the report, which all kinds share."""
    return _OF[kind]()
