"""Drills whose process was killed, before another one is made."""

from __future__ import annotations

from strongroom.operations.runs.abandoned import GONE, is_abandoned, take_up
from strongroom.operations.runs.drive import drive
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunKind


def end_abandoned(services: Services) -> list[Run]:
    """Cancel drills that nobody works on, remove what they restored, and return them."""
    found = [run for run in services.store.active() if run.spec.kind is RunKind.DRILL]
    gone = [run for run in found if is_abandoned(run, services.store, services.state_dir)]
    for run in gone:
        services.store.cancel(run.id, error=f"{GONE}, and the next drill took its place")
    return [drive(run.id, take_up(run.id, services), services, processes=1) for run in gone]
