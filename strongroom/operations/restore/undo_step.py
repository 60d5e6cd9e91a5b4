"""The steps of the undoing of a restore: find it, look at what it left, wait for people, bring back.

They are the same for a cluster and for a person at a command line
(:mod:`~strongroom.operations.restore.work`).
"""

from __future__ import annotations

import hashlib
import time

from msgspec import Struct

from strongroom.model import prepare
from strongroom.operations.restore.facts import Approved, RunRestored, StagedPlan
from strongroom.operations.restore.plan import PlanEntry, RestorePlan, encode_entry, name_destination
from strongroom.operations.restore.step import restored_by
from strongroom.operations.restore.take_back import decided
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunStep
from strongroom.timestamps import rfc3339


class FixedRestore(Struct, frozen=True, kw_only=True):
    """The restore that the run undoes."""

    undoes: str


prepare(FixedRestore)


def fix_restore(run: Run, step: RunStep, services: Services) -> FixedRestore:
    """Hold an undo to a restore that is on record and at its end."""
    return FixedRestore(undoes=services.undoing(run, services).fixed())


def plan_undo(run: Run, step: RunStep, services: Services) -> StagedPlan:
    """Look at what the restore left, and say what would be done with each secret; write nothing."""
    work, entries = services.undoing(run, services), hashlib.sha256()
    with work.undoing() as undoing:
        keeper = work.keeper(undoing.take_back().total)

        def note(entry: PlanEntry) -> None:
            entries.update(encode_entry(entry))
            keeper.add(entry)

        totals = undoing.plan(note)
    head = RestorePlan(
        id=run.id,
        made_at=rfc3339(time.time()),
        by=run.spec.options.get("requester", ""),
        backup=undoing.about,
        manifest="",
        destination=name_destination(work.destination, undoing.to),
        overwrite=True,
        totals=totals,
        entries=entries.hexdigest(),
    )
    return keeper.finish(head)


def approve_undo(run: Run, step: RunStep, services: Services) -> Approved:
    """Wait until enough people approved the plan, if the configuration asks for that."""
    services.undoing(run, services).plan()
    return Approved()


def undo_step(run: Run, step: RunStep, services: Services) -> RunRestored:
    """Bring back what was there, and remove what was not; what an attempt that died did is not done again."""
    work = services.undoing(run, services)
    only = decided(work.entries(work.plan()))  # nothing else is touched: nobody approved it
    with work.undoing() as undoing, work.counting("undoing") as advance:
        undoing.perform(only, progress=advance)
    return restored_by(undoing.account, undoing.about, undoing.folder)
