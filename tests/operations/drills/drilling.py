"""Drills in a world of a test's own, as a command makes them."""

from __future__ import annotations

from typing import Any

from strongroom.operations.drills.facts import DrillOptions
from strongroom.operations.drills.job import submit_drill
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted
from strongroom.state.records import Run
from tests.operations.world import POLICY, World


def submitted(services: Services, **options: Any) -> Submitted:
    """Submit a drill: of everything, with ten minutes, unless told otherwise."""
    return submit_drill(
        services, policy=POLICY, options=DrillOptions(**{"objective_seconds": 600.0, **options})
    )


def drilled(services: Services, **options: Any) -> Run:
    """Drill to the end."""
    return drive(*submitted(services, **options), services, processes=1)


def left(world: World) -> list[str]:
    """Return the scratch stores that are there."""
    folder = world.folder / "drills"
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []
