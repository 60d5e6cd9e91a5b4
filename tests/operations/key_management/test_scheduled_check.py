"""The trial of all keys comes when it is due, and again each day as long as one is not proven."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.key_management.scheduled_check import CHECKED, check, check_due
from tests.operations.world import World, make_world

DAY = 86_400.0
QUARTERLY = "0 6 1 1,4,7,10 *"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = make_world(tmp_path)
    made.back_up()
    return made


def checks(world: World) -> int:
    return len(world.services().store.events(kind=CHECKED))


def test_a_key_that_opens_is_proven_and_left_alone_until_the_next_quarter(world: World) -> None:
    assert check_due(world.services(), QUARTERLY) == []
    assert check_due(world.services(), QUARTERLY) == []
    assert checks(world) == 1
    assert check_due(world.services(), QUARTERLY, now=time.time() + 93 * DAY) == []
    assert checks(world) == 2


def test_a_key_that_nobody_here_has_is_an_alarm_again_each_day(world: World) -> None:
    services = world.services(identities=lambda: (KeyFileIdentity(b"\1" * 32),))
    assert len(check_due(services, QUARTERLY)) == 1
    assert check_due(services, QUARTERLY) == []  # said today
    assert len(check_due(services, QUARTERLY, now=time.time() + 1.1 * DAY)) == 1
    assert checks(world) == 2
    assert check(world.services()).bad == []
    assert check_due(world.services(), QUARTERLY, now=time.time() + 1.1 * DAY) == []


def test_a_backup_that_no_target_gives_is_named(world: World) -> None:
    for target in world.targets.values():
        for info in list(target.list("manifests/")):
            target.delete(info.name)
    [backup] = world.services().store.backups()
    assert check(world.services()).bad == [backup.backup]
