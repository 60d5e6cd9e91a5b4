"""The plan of a drill: which backup is rehearsed, and which targets are cut off."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from strongroom.operations.backup.existing import restorable
from strongroom.operations.drills.facts import DrillOptions, DrillPlan, Picked, options_of
from strongroom.operations.drills.region import cut_off
from strongroom.operations.errors import NothingToRehearse
from strongroom.operations.services import Services
from strongroom.state.records import CatalogEntry, Run, RunStep
from strongroom.words import plural


def pick(run: Run, step: RunStep, services: Services) -> DrillPlan:
    """Pick a backup of the policy: the newest, or a random one of the last days.

    Raises:
        NothingToRehearse: there is none.
    """
    options = options_of(run)
    among = _candidates(run, options, services)
    entry = Random(run.id).choice(among) if options.within_days else among[0]  # noqa: S311 - no key is made
    return DrillPlan(
        picked=Picked(
            backup=entry.backup,
            created_at=entry.created_at,
            source=entry.source,
            secrets=entry.secrets,
            size=entry.size,
            among=len(among),
            cut_off=cut_off(run.spec.targets, options),
        )
    )


def _candidates(run: Run, options: DrillOptions, services: Services) -> Sequence[CatalogEntry]:
    found = list(restorable(services, run.spec.policy))
    if not found:
        raise NothingToRehearse(f"there is no backup of policy '{run.spec.policy}' to recover from")
    if not options.within_days:
        return found
    since = datetime.fromtimestamp(run.created_at, UTC) - timedelta(days=options.within_days)
    recent = [entry for entry in found if datetime.fromisoformat(entry.created_at) >= since]
    if not recent:
        days = plural(round(options.within_days), "day")
        raise NothingToRehearse(f"policy '{run.spec.policy}' has no backup of the last {days}")
    return recent
