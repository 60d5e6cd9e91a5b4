"""What the steps of a drill read of those before them; a record that lacks it is refused."""

from __future__ import annotations

from strongroom.model import Selection
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.drills.facts import DrillFacts, Picked, Rehearsed, options_of
from strongroom.operations.drills.part import tags_of
from strongroom.operations.drills.region import within_reach
from strongroom.operations.recovery_objective import DrillScope
from strongroom.operations.restore.by_record import open_anywhere, shortfall_of
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


def lacking(run: Run, backup: Replicated, services: Services) -> Shortfall | None:
    """Return what the backup lacks of those before it, without a name; nothing of a drill of one secret.

    It is held against what its policy means, and against what the targets show that are not cut off.
    """
    if options_of(run).drill is DrillScope.SINGLE:
        return None
    meant = backup.manifest.selection
    tags = {**meant.tags, **tags_of(run, backup)}
    asked = Asked(
        backup=backup.manifest.backup_id,
        selection=Selection(include=meant.include, exclude=meant.exclude, tags=tags),
        partial=True,
        use_quarantined=True,
    )
    found = shortfall_of(run, within_reach(picked_of(run), services), asked)
    return None if found is None else found.nameless
