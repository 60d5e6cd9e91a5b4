"""What the steps of a drill read of those before them; a record that lacks it is refused."""

from __future__ import annotations

from strongroom.operations.archive.failover import Replicated
from strongroom.operations.drills.facts import DrillFacts, Picked, Rehearsed
from strongroom.operations.drills.region import within_reach
from strongroom.operations.restore.step import open_anywhere
from strongroom.operations.runs.job import read_facts
from strongroom.operations.services import Services
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run


def picked_of(run: Run) -> Picked:
    """Return the backup that was picked."""
    picked = read_facts(run, DrillFacts).picked
    if picked is None:
        raise RecordRefused(f"run {run.id} does not record which backup its drill picked")
    return picked


def rehearsed_of(run: Run) -> Rehearsed:
    """Return what came back."""
    rehearsed = read_facts(run, DrillFacts).drill_restore
    if rehearsed is None:
        raise RecordRefused(f"run {run.id} does not record what its drill brought back")
    return rehearsed


def open_picked(run: Run, services: Services) -> Replicated:
    """Open the backup that a drill rehearses, from the targets that are not cut off.

    If it is quarantined by now, the one before it is rehearsed.
    """
    earlier = read_facts(run, DrillFacts).drill_restore
    picked = picked_of(run)
    backup = earlier.backup if earlier is not None else picked.backup
    return open_anywhere(run, within_reach(picked, services), backup=backup, or_newest=earlier is None)
