"""Orphans: objects of a run that no manifest names, on any target. Nothing opens them, and they cost money.

Judged as a run's own sweep does it (:mod:`strongroom.operations.backup.sweep`), without its record: by the
targets. A manifest that cannot be believed keeps everything, a target that is away keeps what it might
have the manifest of, and nothing is an orphan that a run may still be making. What the catalog knows is none
either: its manifests were lost or stolen, and whoever has a copy of one brings it back with what is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from msgspec import Struct

from strongroom.operations.archive.deletions import Places, counting, may_be_gone
from strongroom.operations.retention.plan import RetentionPlan
from strongroom.operations.retention.stock import Stock
from strongroom.operations.run_integrity import OLDEST
from strongroom.operations.services import Services
from strongroom.operations.shredding.record import shredded_backups

_ID = re.compile(r"([0-9]{8}T[0-9]{6})[0-9]{0,6}Z-[0-9a-f]{8}(?:-r[0-9]+)?")


ORPHAN = "a run left it that made no backup"


class Orphan(Struct, frozen=True, kw_only=True):
    """A run, or a deletion, that left objects on targets of which no manifest tells."""

    backup: str
    why: str
    targets: tuple[str, ...]


def find_orphans(
    services: Services, plan: RetentionPlan, stocks: Mapping[str, Stock], places: Places, *, now: float
) -> Iterator[Orphan]:
    """Yield what runs left that are too old to make a backup any more (``run_integrity.OLDEST``).

    So is what a prune left that was killed on the last target: its mark says that it is to go.
    """
    known = {removal.backup for removal in plan.backups}
    known |= {run.id for run in services.store.active()}
    known |= set(shredded_backups(services.store, services.signer_fingerprints))
    asked = {name for name in stocks if judging_targets(name, services) <= stocks.keys()}
    found = sorted(set().union(*(stocks[name].backups for name in asked)) - known)
    recorded = services.store.digests(found)
    for backup in found:
        there = [name for name, stock in stocks.items() if backup in stock.backups]
        mark = counting(places.values(), backup)
        unfinished = mark.reason if mark is not None and may_be_gone(mark, now=now) else ""
        unmade = backup not in recorded and _age(backup, now) > OLDEST
        if set(there) <= asked and (unfinished or unmade):
            yield Orphan(backup=backup, why=unfinished or ORPHAN, targets=tuple(there))


def judging_targets(target: str, services: Services) -> frozenset[str]:
    """Return the targets that may have the manifest of what lies on one: all that share a policy with it."""
    policies = [{pin.name for pin in policy.spec.targets} for policy in services.retention().values()]
    return frozenset({target}.union(*(names for names in policies if target in names)))


def _age(backup: str, now: float) -> float:
    """Return the age of what is called as a run is, by that name; anything else is as young as can be."""
    match = _ID.fullmatch(backup)
    try:
        made = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if match else None
    except ValueError:
        made = None
    return now - made.timestamp() if made is not None else 0.0
