"""Asking for a rehearsed recovery."""

from __future__ import annotations

from tasks.submitting import submit
from workers import names
from workers.app import app
from workers.base import define


@define(names.RECOVERY_DRILL)
def recovery_drill(*, policy: str, objective_seconds: float | None = None) -> str:
    """Restore a policy's newest backup into a scratch store, compare, and take the time."""
    from strongroom.operations.submit import submit_drill  # noqa: PLC0415

    objective = app.settings.drill.objective_seconds if objective_seconds is None else objective_seconds
    return submit(
        lambda services, request: submit_drill(
            services, policy=policy, objective_seconds=objective, request_id=request
        )
    )
