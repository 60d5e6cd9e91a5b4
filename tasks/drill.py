"""Asking for a rehearsed recovery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workers import names
from workers.app import app
from workers.entry import define_entry

if TYPE_CHECKING:
    from strongroom.operations.engine.services import Services
    from strongroom.operations.engine.submit import Submitted


@define_entry(names.RECOVERY_DRILL)
def recovery_drill(
    services: Services,
    request: str,
    *,
    policy: str,
    drill: str = "full",
    secret: str = "",
    tags: Mapping[str, str] | None = None,
    target: str = "",
    into: str = "",
    within_days: float = 0.0,
    objective_seconds: float | None = None,
) -> Submitted:
    """Restore a policy's backup into a place of its own, compare everything, and take the time.

    ``drill`` is one of single, category, full, failover and emergency; the rest are the options of
    ``strongroom drill``.
    """
    from strongroom.operations.drills.job import submit_drill
    from strongroom.wiring.jobs import drill_options

    options = drill_options(
        app.settings,
        drill,
        secret=secret,
        tags=tags,
        target=target,
        into=into,
        within_days=within_days,
        objective_seconds=objective_seconds,
    )
    return submit_drill(services, policy=policy, options=options, request_id=request)
