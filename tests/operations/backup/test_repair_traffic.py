"""What a scheduled repair reads: it comes every hour, and a cloud asks money for every byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from strongroom.model import Depth, ObjectInfo
from strongroom.operations.archive.inventory import LostReplica, put_on_record
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import open_due
from strongroom.state.records import Run, RunKind, RunState, StepKind
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import REGIONS, World, make_world

REPAIR = [Scheduled(name="repair", kind=RunKind.REPAIR, schedule="17 * * * *")]

NOON = 1_767_268_800.0


class Region(MemoryTarget):
    """A region that counts the containers read from it, and can go away."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, region=name)
        self.away = False
        self.containers_read = 0
        self.names_read: set[str] = set()

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self._answer()
        self.containers_read += name.startswith("containers/")
        self.names_read |= {name} if name.startswith("containers/") else set()
        return super().read(name, offset=offset, length=length)

    def stat(self, name: str) -> ObjectInfo | None:
        self._answer()
        return super().stat(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._answer()
        return super().list(prefix)

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        self._answer()
        return super().put(name, chunks, size=size, sha256=sha256)

    def _answer(self) -> None:
        if self.away:
            raise TargetUnavailable(f"target '{self.name}' is left alone", retry_after=60.0)


@pytest.fixture
def regions() -> dict[str, Region]:
    return {name: Region(name) for name in REGIONS}


@pytest.fixture
def world(tmp_path: Path, regions: dict[str, Region]) -> World:
    """A world with a backup that lacks its replica in 'us', which is away."""
    regions["us"].away = True
    built = make_world(tmp_path).with_targets(regions)
    assert built.back_up().state is RunState.DEGRADED
    return built


def repaired(services: Services, *, hour: int) -> Run:
    tickets = open_due(services, REPAIR, now=NOON + hour * 3600)
    return drive(tickets[0].run, tickets, services, processes=1)


def damaged(content: bytes) -> bytes:
    return bytes([*content[:-1], content[-1] ^ 1])


def reads(regions: dict[str, Region]) -> dict[str, int]:
    """Return how many containers were read from each region since the last call."""
    found = {name: region.containers_read for name, region in regions.items()}
    for region in regions.values():
        region.containers_read = 0
    return found


def test_while_a_region_is_away_nothing_is_read_for_it(world: World, regions: dict[str, Region]) -> None:
    services = world.services()
    reads(regions)
    run = repaired(services, hour=1)
    assert reads(regions) == {"eu": 0, "us": 0, "ap": 0}
    assert (run.state, run.error) == (
        RunState.DEGRADED,
        "no good replica on us: target 'us' does not answer",
    )
    good = {one.target: one.good for one in services.store.replicas(run.spec.backup)}
    assert good == {"eu": True, "us": False, "ap": True}


def test_once_it_is_back_what_it_lacks_is_read_from_one_and_verified_there_alone(
    world: World, regions: dict[str, Region]
) -> None:
    services = world.services()
    repaired(services, hour=1)
    regions["us"].away = False
    reads(regions)
    run = repaired(services, hour=2)
    pieces = run.facts["plan"]["pieces"]
    assert run.state is RunState.DONE
    assert {row.step.target for row in services.store.rows(run.id, StepKind.VERIFY)} == {"us"}
    read = reads(regions)
    assert (read["eu"], read["ap"]) == (2 * pieces, 0)  # whole? and then copied
    assert all(one.good for one in services.store.replicas(run.spec.backup))


def test_one_that_goes_away_in_the_midst_costs_no_reading_of_the_others(
    world: World, regions: dict[str, Region]
) -> None:
    services = world.services()
    regions["us"].away = False
    tickets = open_due(services, REPAIR, now=NOON)
    reads(regions)
    watch = lambda ticket: setattr(regions["us"], "away", True)  # noqa: E731 - after the first look
    run = drive(tickets[0].run, tickets, services, watch=watch, processes=1)
    assert run.state is RunState.DEGRADED
    assert (reads(regions)["eu"], reads(regions)["ap"]) == (0, 0)


def test_of_a_bad_replica_a_repair_reads_what_verification_named_and_sees_that_the_rest_is_there(
    tmp_path: Path, regions: dict[str, Region]
) -> None:
    world = make_world(tmp_path, pieces=6).with_targets(regions)
    services, us = world.services(), regions["us"]
    backup = world.back_up(services).id
    bad, gone, *others = sorted(info.name for info in us.list("containers/"))
    us._objects[bad] = damaged(us._objects[bad])
    run, tickets = submit_verify(services, backup=backup)
    assert drive(run, tickets, services, processes=1).state is RunState.DEGRADED
    us.delete(gone)
    us.names_read.clear()
    assert repaired(services, hour=2).state is RunState.DONE
    assert us.names_read == {bad, gone}
    assert [us._objects[name] for name in (bad, gone)] == [
        regions["eu"]._objects[name] for name in (bad, gone)
    ]
    assert len(others) > 2
    depths = {one.target: one.verified for one in services.store.replicas(backup)}
    assert depths == {"eu": Depth.COMPARED, "us": Depth.DIGEST, "ap": Depth.COMPARED}


def test_damage_is_repaired_at_once_whoever_finds_it_and_what_cannot_be_repaired_waits_for_its_slot(
    tmp_path: Path, regions: dict[str, Region]
) -> None:
    world = make_world(tmp_path).with_targets(regions)
    services = world.services()
    backup, another = world.back_up(services).id, world.back_up(services).id
    yearly = [structs.replace(REPAIR[0], schedule="0 0 1 1 *")]

    def found(backup: str) -> None:
        [replica] = [one for one in services.store.replicas(backup) if one.target == "us"]
        put_on_record(services.store, [LostReplica(replica, "a restore could not read it")])

    def repairs(*, later: float) -> int:
        tickets = open_due(services, yearly, now=services.store.clock() + later)
        for ticket in tickets:
            drive(ticket.run, [ticket], services, processes=1)
        return len(tickets)

    found(backup)
    assert (repairs(later=0), repairs(later=0)) == (1, 0)
    found(backup)  # after this year's slot was taken
    assert (repairs(later=60), repairs(later=60)) == (1, 0)
    regions["us"].away = True
    found(another)
    assert [repairs(later=later) for later in (0, 60, 120, 180)] == [1, 1, 0, 0]


def test_what_was_read_too_long_ago_is_read_again_by_a_repair(
    tmp_path: Path, regions: dict[str, Region]
) -> None:
    world = make_world(tmp_path, pieces=6).with_targets(regions)
    services, us = world.services(), regions["us"]
    backup = world.back_up(services).id
    names = sorted(info.name for info in us.list("containers/"))
    us._objects[names[0]] = damaged(us._objects[names[0]])
    run, tickets = submit_verify(services, backup=backup)
    drive(run, tickets, services, processes=1)
    age = services.read_within + 1
    checks = services.store.checks()
    services.store.put_checks([structs.replace(one, checked_at=one.checked_at - age) for one in checks])
    us.names_read.clear()
    assert repaired(services, hour=2).state is RunState.DONE
    assert us.names_read == set(names)


def test_a_repair_by_hand_looks_at_all_of_them(world: World, regions: dict[str, Region]) -> None:
    services = world.services()
    regions["us"].away = False
    repaired(services, hour=1)
    name = next(info.name for info in regions["ap"].list("containers/"))
    regions["ap"]._objects[name] = b"CANARY-damage"
    [backup] = services.store.backups()
    run_id, tickets = submit_repair(services, backup=backup.backup)
    assert drive(run_id, tickets, services, processes=1).state is RunState.DONE
    assert regions["ap"]._objects[name] == regions["eu"]._objects[name]


def test_a_replica_on_record_as_bad_that_is_whole_is_called_good_again(
    world: World, regions: dict[str, Region]
) -> None:
    services = world.services()
    regions["us"].away = False
    repaired(services, hour=1)
    [backup] = services.store.backups()
    [us] = [one for one in services.store.replicas(backup.backup) if one.target == "us"]
    services.store.set_replica(structs.replace(us, good=False, verified=None))
    reads(regions)
    assert repaired(services, hour=2).state is RunState.DONE
    read = reads(regions)
    assert (read["eu"], read["ap"]) == (0, 0)
