"""What the tests of pruning share: a world that keeps one backup, and has no grace unless asked for."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from strongroom.operations.archive.open import open_backup
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import KeepRules, Services
from strongroom.operations.retention.delete import Deleted
from strongroom.operations.retention.prune import submit_prune
from strongroom.state.records import Run, StepKind
from strongroom.targets import Target
from strongroom.targets.memory import MemoryTarget
from tests.operations.archive.test_select_backup import put
from tests.operations.world import World, made_up, make_world, names_on

ONE = KeepRules(last=1, minimum_days=0, minimum_count=1)
"""Rules that keep one backup, however young the others are."""


class Stocked(NamedTuple):
    """A world with two backups of one policy, of which its rules keep the newer one."""

    world: World
    old: str
    new: str

    def copied(self, folder: Path, *others: MemoryTarget, grace_days: float = 0) -> Stocked:
        """Return the same once more, with objects and a record of its own.

        Args:
            others: targets that take the place of those of the same names.
        """
        folder.mkdir(exist_ok=True)
        shutil.copy(self.world.folder / "state.db", folder / "state.db")
        targets = {name: MemoryTarget(name=name, region=name) for name in self.world.targets}
        targets |= {target.name: target for target in others}
        for name, target in targets.items():
            for info in self.world.targets[name].list():
                content = b"".join(self.world.targets[name].read(info.name))
                put(target, info.name, content)
        world = replace(
            self.world, folder=folder, database=f"sqlite:///{folder / 'state.db'}", grace_days=grace_days
        )
        return Stocked(world.with_targets(dict(targets)), self.old, self.new)


def stock(folder: Path) -> Stocked:
    """Make the two backups."""
    world = replace(make_world(folder, secrets=made_up(6), pieces=2), keep=ONE, grace_days=0)
    return Stocked(world, world.back_up().id, world.back_up().id)


def prune(services: Services) -> Run:
    """Mark and delete what is due, in this process."""
    run, tickets = submit_prune(services)
    return drive(run, tickets, services, processes=1)


def results(services: Services, run: Run) -> dict[str, Deleted]:
    """Return what each target's deletion says of itself."""
    rows = services.store.rows(run.id, StepKind.DELETE)
    return {row.step.target: msgspec.convert(row.result, Deleted) for row in rows if row.result}


def about(target: Target, backup: str) -> list[str]:
    """Return the objects of a backup on a target, but for its marks."""
    return [name for name in names_on(target) if backup in name and not name.startswith("deletion/")]


def opens(world: World, target: Target, backup: str) -> bool:
    """Tell whether every secret of a backup opens from a target."""
    trusted = frozenset({world.installation.fingerprint})
    found = open_backup(target, backup, identities=[world.identity], trusted=trusted)
    return sorted(secret.name for secret in found.secrets()) == [f"app/{n:04}" for n in range(6)]


def sizes(targets: Mapping[str, Target]) -> dict[str, int]:
    return {name: sum(info.size for info in target.list()) for name, target in targets.items()}
