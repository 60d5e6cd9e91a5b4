"""The trial of all keys: what it finds. When it comes, tests/operations/checks/test_job.py has."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.operations.keys.health import check
from tests.operations.world import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = make_world(tmp_path)
    made.back_up()
    return made


def test_a_backup_that_no_target_gives_is_named(world: World) -> None:
    for target in world.targets.values():
        for info in list(target.list("manifests/")):
            target.delete(info.name)
    [backup] = world.services().store.backups()
    assert check(world.services()).bad == [backup.backup]
