"""Verification that covers: what is due is read, by one reader a target, and damage is repaired at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec import structs

from strongroom.container.errors import WrongKey
from strongroom.model import Depth
from strongroom.operations.backup.scrub_job import make_spec
from strongroom.operations.rotation.rewrap import rewrap_backup
from strongroom.operations.runs.drive import drive
from strongroom.operations.runs.submit import submit
from strongroom.operations.services import Services
from strongroom.operations.verification.coverage import Scope
from strongroom.state.records import Run, RunKind, RunState
from tests.operations.backup.planted import KINDS, Planted
from tests.operations.rotation.rotating import Rotated
from tests.operations.world import POLICY, World, made_up, make_world

OPTIONS = Scope(span=30 * 86_400.0, interval=3600.0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def scrub(services: Services, **options: object) -> Run:
    run, tickets = submit(services, make_spec(services, structs.replace(OPTIONS, **options)))
    return drive(run, tickets, services, processes=1)


def forget_checks(services: Services, *, age: float = 29 * 86_400.0) -> None:
    """Have everything be due."""
    services.store.put_checks(
        [structs.replace(one, checked_at=one.checked_at - age) for one in services.store.checks()]
    )


def test_a_new_backup_is_on_record_as_read_on_every_target(world: World) -> None:
    services = world.services()
    backup = world.back_up(services).id
    containers = services.store.backup(backup).containers
    checks = services.store.checks()
    assert {(one.target, one.piece) for one in checks} == {
        (target, piece) for target in world.targets for piece in range(-1, containers)
    }
    assert {one.depth for one in checks if one.piece >= 0} == {Depth.COMPARED}
    assert scrub(services).facts["plan"]["pieces"] == 0


def test_what_is_due_is_read_as_deep_as_the_keys_allow(world: World) -> None:
    services = world.services()
    world.back_up(services)
    forget_checks(services)
    run = scrub(services)
    assert (run.state, run.error) == (RunState.DONE, None)
    checks = services.store.checks()
    assert run.facts["plan"]["pieces"] == len(checks)
    assert min(one.checked_at for one in checks) >= run.created_at
    assert {one.depth for one in checks if one.piece >= 0} == {Depth.COMPARED}


@pytest.fixture
def at(tmp_path: Path) -> Rotated:
    """A world with two backups, both rotated to a new key."""
    made = Rotated(tmp_path, secrets=made_up(6), pieces=2)
    for backup in (made.back_up(), made.back_up()):
        list(rewrap_backup(made.manifest(backup), made.all_targets(), made.rotation()))
    return made


def whole_everywhere(at: Rotated, services: Services) -> None:
    """Have every backup be read from each target by the new key, and by no other."""
    for entry in services.store.backups():
        assert all(replica.good for replica in services.store.replicas(entry.backup))
        for target in at.all_targets():
            assert at.opened(entry.backup, target, at.new) == 6
            with pytest.raises(WrongKey):
                at.opened(entry.backup, target, at.old)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_by_the_next_slice_and_repaired_in_one_go(kind: str, at: Rotated) -> None:
    plant, found = KINDS[kind]
    services = at.services(at.new)
    backup, older = services.store.names(POLICY)
    forget_checks(services)
    plant(Planted(at.world.targets["us"], backup, older))

    run = scrub(services)

    assert run.state is RunState.DEGRADED
    assert run.error is not None
    assert re.search(rf"{backup} on us: its \w+( 0)?: ({found})", run.error)
    whole_everywhere(at, services)
    [repair] = [each for each in services.store.runs() if each.spec.kind is RunKind.REPAIR]
    assert (repair.spec.backup, repair.state) == (backup, RunState.DONE)
    assert list(run.facts["report"]["started"]) == [repair.id]
    [told] = services.store.events(kind="replica.repaired")
    assert (told.detail["backup"], told.detail["target"]) == (backup, "us")
    assert re.search(found, told.detail["why"])
    forget_checks(services)
    assert scrub(services).state is RunState.DONE
