"""A damaged object under a lock: a whole copy beside it, which every reader then finds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from strongroom.cli.shared.opening import signed_manifest
from strongroom.container.errors import Tampered
from strongroom.container.signing import Signers
from strongroom.model import Depth, ObjectInfo
from strongroom.operations.archive.catalog import rebuild
from strongroom.operations.archive.open import Objects, ReadBackKeys, backup_ids, open_backup, read_back
from strongroom.operations.backup.commit import place
from strongroom.operations.backup.outcome import sweep_targets
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted
from strongroom.state.records import Run, RunState, StepKind
from strongroom.system.errors import TargetReadOnly
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import World, made_up, make_world, names_on
from tests.targets.flaky import LockingTarget


class LockedRegion(LockingTarget):
    """A region whose objects are locked as soon as they are put."""

    name = "us"  # type: ignore[assignment]
    region = "us"  # type: ignore[assignment]

    def locked_until(self, name: str) -> datetime | None:
        return self._locks.get(name)


class Dead(MemoryTarget):
    """A region that does not answer, at the address of one that did."""

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        raise TargetUnavailable(f"{name} {offset} {length}: no answer")

    def stat(self, name: str) -> ObjectInfo | None:
        raise TargetUnavailable(f"{name}: no answer")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        raise TargetUnavailable(f"{prefix}: no answer")


@pytest.fixture
def world(tmp_path: Path) -> World:
    built = make_world(tmp_path)
    locked = LockedRegion(now=datetime.now(UTC))
    return built.with_targets({**built.targets, "us": locked}).with_spec(minimum_retention_days=30)


def damage(target: object, name: str) -> None:
    """Flip one bit of an object behind the target's back."""
    assert isinstance(target, MemoryTarget)
    content = bytearray(target._objects[name])
    content[len(content) // 2] ^= 1
    target._objects[name] = bytes(content)


def container_on(target: object) -> str:
    return next(name for name in names_on(target) if name.startswith("containers/"))  # type: ignore[arg-type]


def finish(submitted: Submitted, services: Services) -> Run:
    run, tickets = submitted
    return drive(run, tickets, services, processes=1)


def damaged_of(kind: str, world: World, backup: str) -> str:
    us = world.targets["us"]
    return container_on(us) if kind == "container" else f"manifests/{backup}.json"


@pytest.mark.parametrize("kind", ["container", "manifest"])
def test_a_damaged_locked_object_is_repaired_beside_it_and_every_reader_finds_that(
    world: World, kind: str
) -> None:
    backup = world.back_up().id
    us = world.targets["us"]
    name = damaged_of(kind, world, backup)
    damage(us, name)
    services = world.services()
    assert finish(submit_verify(services, backup=backup), services).state is RunState.DEGRADED

    repaired = finish(submit_repair(services, backup=backup), services)

    assert repaired.state is RunState.DONE, repaired.error
    assert {name, f"{name}.r1"} < set(names_on(us))
    verified = finish(submit_verify(services, backup=backup, depth=Depth.COMPARED), services)
    assert verified.state is RunState.DONE
    assert backup_ids(us) == [backup]
    known = Signers() | services.signer_fingerprints
    assert signed_manifest(us, backup, known=known).manifest.backup_id == backup
    opened = open_backup(us, identities=[world.identity], trusted=services.signer_fingerprints)
    assert sorted(secret.name for secret in opened.secrets()) == [secret.name for secret in made_up(30)]
    assert opened.find("app/0007") == made_up(30)[7]
    keys = ReadBackKeys(identities=[world.identity])
    assert read_back(us, opened.manifest, Depth.OPENED, keys) == 30
    rebuilt = rebuild(services.store, us, trusted=services.signer_fingerprints)
    assert (rebuilt.backups, rebuilt.incomplete, rebuilt.refused) == ((backup,), (), ())


def test_a_repair_is_locked_as_long_as_what_it_stands_for(world: World) -> None:
    backup = world.back_up().id
    us = world.targets["us"]
    assert isinstance(us, LockingTarget)
    name = container_on(us)
    damage(us, name)
    services = world.services()

    finish(submit_repair(services, backup=backup), services)

    assert us.locked_until(f"{name}.r1") == us.locked_until(name) is not None


def test_a_repaired_container_that_was_cut_short_counts_as_there_when_the_catalog_is_rebuilt(
    world: World,
) -> None:
    backup = world.back_up().id
    us = world.targets["us"]
    name = container_on(us)
    assert isinstance(us, MemoryTarget)
    us._objects[name] = us._objects[name][:-1]
    services = world.services()
    assert rebuild(services.store, us, trusted=services.signer_fingerprints).incomplete == (backup,)

    finish(submit_repair(services, backup=backup), services)

    assert rebuild(services.store, us, trusted=services.signer_fingerprints).incomplete == ()


def test_a_dead_region_does_not_keep_another_from_being_repaired_from_a_third(world: World) -> None:
    backup = world.back_up().id
    us = world.targets["us"]
    name = container_on(us)
    damage(us, name)
    dead = Dead(name="eu", region="eu")
    services = world.services(targets={**world.targets, "eu": dead})

    run = finish(submit_repair(services, backup=backup), services)

    assert f"{name}.r1" in names_on(us)
    assert run.state is RunState.DEGRADED  # of the dead one nothing is claimed
    assert {one.target for one in services.store.replicas(backup) if one.good} >= {"us", "ap"}


def test_if_the_only_whole_copies_do_not_answer_a_repair_says_that_and_not_that_all_is_lost(
    world: World,
) -> None:
    backup = world.back_up().id
    us, ap = world.targets["us"], world.targets["ap"]
    name = container_on(us)
    for target in (us, ap):
        damage(target, name)
    services = world.services(targets={**world.targets, "eu": Dead(name="eu", region="eu")})

    run = finish(submit_repair(services, backup=backup), services)

    rows = services.store.rows(run.id, StepKind.REPAIR)
    errors = [row.error or "" for row in rows if row.step.target == "us"]
    assert any("TargetUnavailable" in error for error in errors)
    assert not any("MissingPiece" in error for error in errors)


def test_repairing_twice_adds_nothing(world: World) -> None:
    backup = world.back_up().id
    us = world.targets["us"]
    damage(us, container_on(us))
    services = world.services()
    finish(submit_repair(services, backup=backup), services)
    after_one = names_on(us)

    assert finish(submit_repair(services, backup=backup), services).state is RunState.DONE
    assert names_on(us) == after_one


def test_a_repaired_copy_serves_as_the_source_of_another_repair(world: World) -> None:
    backup = world.back_up().id
    us, eu, ap = (world.targets[name] for name in ("us", "eu", "ap"))
    name = container_on(us)
    damage(us, name)
    services = world.services()
    finish(submit_repair(services, backup=backup), services)
    for other in (eu, ap):
        damage(other, name)

    assert finish(submit_repair(services, backup=backup), services).state is RunState.DONE
    assert finish(submit_verify(services, backup=backup), services).state is RunState.DONE


def test_a_repair_whose_copy_is_damaged_too_does_not_hide_it(world: World) -> None:
    backup = world.back_up().id
    us = world.targets["us"]
    name = container_on(us)
    damage(us, name)
    services = world.services()
    finish(submit_repair(services, backup=backup), services)
    damage(us, f"{name}.r1")

    assert finish(submit_verify(services, backup=backup), services).state is RunState.DEGRADED
    opened = open_backup(us, identities=[world.identity], trusted=services.signer_fingerprints)
    with pytest.raises(Tampered):
        list(opened.secrets())


def test_a_sweep_keeps_repairs_of_a_backup_and_removes_those_of_a_failed_run(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    run = world.back_up()
    eu = world.targets["eu"]
    name = container_on(eu)
    put(eu, f"{name}.r1", b"a repair")
    services = world.services()

    assert sweep_targets(run, services) == {}
    assert f"{name}.r1" in names_on(eu)

    stray = f"containers/{run.id}/{'ab' * 32}.r1"
    put(eu, stray, b"of nothing")
    assert sweep_targets(run, services) == {}
    assert stray not in names_on(eu)


def test_a_credential_that_may_not_delete_repairs_beside() -> None:
    class PutOnly(MemoryTarget):
        def delete(self, name: str) -> None:
            raise TargetReadOnly(f"{name}: not with this credential")

    target = PutOnly(name="us", region="us")
    put(target, "a", b"damaged")

    place(target, "a", lambda: [b"good"], size=4, sha256=hashlib.sha256(b"good").hexdigest())

    assert names_on(target) == ["a", "a.r1"]


def test_an_object_without_repairs_is_not_read_twice_to_open_one_secret(world: World) -> None:
    world.back_up()
    services = world.services()
    reads: list[tuple[str, int | None]] = []

    class Counted:
        def __init__(self, objects: Objects) -> None:
            self._objects = objects
            self.stat, self.list = objects.stat, objects.list

        def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
            reads.append((name, length))
            return self._objects.read(name, offset=offset, length=length)

    opened = open_backup(
        Counted(world.targets["eu"]), identities=[world.identity], trusted=services.signer_fingerprints
    )
    assert opened.find("app/0003") is not None
    assert all(length is not None for name, length in reads if name.startswith("containers/"))


def put(target: object, name: str, content: bytes) -> None:
    assert isinstance(target, MemoryTarget)
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
