"""Asking for a rehearsed recovery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers import names
from workers.app import app
from workers.entry import define_entry

if TYPE_CHECKING:
    from strongroom.operations.runs.submit import Submitted
    from strongroom.operations.services import Services


@define_entry(names.RECOVERY_DRILL)
def recovery_drill(
    services: Services, request: str, *, policy: str, objective_seconds: float | None = None
) -> Submitted:
    """Restore a policy's newest backup into a scratch store, compare, and take the time."""
    from strongroom.operations.rehearsal.job import submit_drill

    objective = app.settings.drill.objective_seconds if objective_seconds is None else objective_seconds
    return submit_drill(services, policy=policy, objective_seconds=objective, request_id=request)
