"""Runs about a backup that exists: verify, repair, restore."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from strongroom.model import Depth
from strongroom.operations.backup.repair import publish, submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import perform
from strongroom.operations.engine.submit import Submitted
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions
from strongroom.sources import SecretChange
from strongroom.sources.memory import MemoryStore
from strongroom.state.errors import StateUnavailable
from strongroom.state.records import Run, RunState, RunStep, StepKind
from strongroom.system.errors import TargetFull
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import World, made_up, make_world, names_on


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def finish(submitted: Submitted, services: Services) -> Run:
    run, tickets = submitted
    return drive(run, tickets, services, processes=1)


def first_container(target: MemoryTarget) -> str:
    return next(name for name in names_on(target) if name.startswith("containers/"))


def damage(target: object, name: str) -> None:
    """Flip one bit of an object behind the target's back."""
    assert isinstance(target, MemoryTarget)
    content = bytearray(b"".join(target.read(name)))
    content[len(content) // 2] ^= 1
    target._objects[name] = bytes(content)


def good_replicas(services: Services, backup: str) -> set[str]:
    return {replica.target for replica in services.store.replicas(backup) if replica.good}


def test_a_replica_that_lost_a_container_is_found_by_verify_and_brought_up_by_repair(world: World) -> None:
    backup = world.back_up().id
    whole = names_on(world.targets["us"])
    world.targets["us"].delete(first_container(world.targets["us"]))  # type: ignore[arg-type]
    services = world.services()
    assert finish(submit_verify(services, backup=backup), services).state is RunState.DEGRADED
    assert good_replicas(services, backup) == {"eu", "ap"}
    assert finish(submit_repair(services, backup=backup), services).state is RunState.DONE
    assert names_on(world.targets["us"]) == whole
    assert good_replicas(services, backup) == {"eu", "us", "ap"}


def test_a_flipped_bit_is_repaired_from_another_replica(world: World) -> None:
    backup = world.back_up().id
    damage(world.targets["us"], first_container(world.targets["us"]))  # type: ignore[arg-type]
    services = world.services()
    assert finish(submit_verify(services, backup=backup), services).state is RunState.DEGRADED
    assert finish(submit_repair(services, backup=backup), services).state is RunState.DONE
    assert finish(submit_verify(services, backup=backup), services).state is RunState.DONE


def test_a_lost_manifest_is_repaired(world: World) -> None:
    backup = world.back_up().id
    world.targets["ap"].delete(f"manifests/{backup}.json")
    services = world.services()
    assert finish(submit_repair(services, backup=backup), services).state is RunState.DONE
    assert f"manifests/{backup}.json" in names_on(world.targets["ap"])


def test_a_container_that_no_replica_has_whole_is_said_not_invented(world: World) -> None:
    backup = world.back_up().id
    name = first_container(world.targets["eu"])  # type: ignore[arg-type]
    for target in world.targets.values():
        damage(target, name)
    services = world.services()
    run = finish(submit_repair(services, backup=backup), services)
    assert run.state is RunState.FAILED
    assert good_replicas(services, backup) == set()


def test_live_verification_tells_a_source_that_moved_on_from_a_bad_replica(world: World) -> None:
    backup = world.back_up().id
    services = world.services()
    assert finish(submit_verify(services, backup=backup, depth=Depth.LIVE), services).state is RunState.DONE
    changed = made_up(1, size=41)[0]
    world.source.write([SecretChange(secret=changed, expected=1)])
    run = finish(submit_verify(services, backup=backup, depth=Depth.LIVE), services)
    assert run.state is RunState.DEGRADED
    assert "the source has drifted: 1 secret changed" in (run.error or "")
    assert good_replicas(services, backup) == {"eu", "us", "ap"}


def test_live_verification_asks_for_what_the_backup_holds_and_lists_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = world.back_up().id
    monkeypatch.setattr(MemoryStore, "list", None)
    services = world.services()
    assert finish(submit_verify(services, backup=backup, depth=Depth.LIVE), services).state is RunState.DONE


def test_a_restore_run_brings_secrets_back_into_an_empty_store(world: World) -> None:
    backup = world.back_up().id
    fresh = MemoryStore(name="fresh")
    services = world.services(destinations={"fresh": fresh})
    run = finish(
        submit_restore(services, backup=backup, options=RestoreOptions(destination="fresh")), services
    )
    assert run.state is RunState.DONE
    assert run.facts["restore"]["created"] == 30
    wanted = {secret.name: secret for secret in made_up(30)}
    assert {s.name: s for s in fresh.read(list(fresh.list())) if s is not None} == wanted


def test_a_restore_run_that_leaves_what_differs_is_degraded_and_names_the_file(world: World) -> None:
    backup = world.back_up().id
    fresh = MemoryStore(made_up(3, size=99), name="fresh")
    services = world.services(destinations={"fresh": fresh})
    options = RestoreOptions(destination="fresh")
    run = finish(submit_restore(services, backup=backup, options=options), services)
    assert run.state is RunState.DEGRADED
    record = world.folder / "undo" / run.id
    assert run.error == (
        "3 secrets in 'fresh' differ from the backup and were left as they are; "
        f"each is named in {record}/*/not-restored.jsonl"
    )
    [names] = record.glob("*/not-restored.jsonl")
    assert len(names.read_text().splitlines()) == 3


def test_a_restore_run_of_one_name_restores_that_and_keeps_what_it_overwrote(world: World) -> None:
    backup = world.back_up().id
    fresh = MemoryStore(made_up(3, size=99), name="fresh")
    services = world.services(destinations={"fresh": fresh})
    options = RestoreOptions(destination="fresh", names=("app/0001",), overwrite=True)
    run = finish(submit_restore(services, backup=backup, options=options), services)
    assert (run.facts["restore"]["changed"], run.facts["restore"]["created"]) == (1, 0)
    assert len(list((world.folder / "undo" / run.id).glob("*/*.strongroom"))) == 1


def depths(services: Services, backup: str) -> dict[str, Depth | None]:
    return {replica.target: replica.verified for replica in services.store.replicas(backup)}


def test_a_repair_keeps_the_depth_known_of_what_it_did_not_touch(world: World) -> None:
    services = world.services()
    backup = world.back_up(services).id
    damage(world.targets["us"], first_container(world.targets["us"]))
    assert finish(submit_repair(services, backup=backup), services).state is RunState.DONE
    assert depths(services, backup) == {"eu": Depth.COMPARED, "us": Depth.DIGEST, "ap": Depth.COMPARED}


@pytest.mark.parametrize(
    ("before", "look", "then", "renewed"),
    [
        (Depth.COMPARED, Depth.PRESENT, Depth.COMPARED, False),
        (Depth.COMPARED, Depth.DIGEST, Depth.COMPARED, True),
        (Depth.LIVE, Depth.DIGEST, Depth.COMPARED, True),
        (Depth.DIGEST, Depth.COMPARED, Depth.COMPARED, True),
    ],
)
def test_a_shallower_look_takes_nothing_from_what_is_known_of_the_same_bytes(
    world: World, before: Depth, look: Depth, then: Depth, *, renewed: bool
) -> None:
    services = world.with_spec(depth=before).services()
    backup = world.back_up(services).id
    dates = {replica.target: replica.verified_at for replica in services.store.replicas(backup)}
    assert finish(submit_verify(services, backup=backup, depth=look), services).state is RunState.DONE
    for replica in services.store.replicas(backup):
        assert (replica.verified, replica.verified_at != dates[replica.target]) == (then, renewed)


def test_a_replica_that_was_bad_is_known_as_deep_as_it_was_read_since(world: World) -> None:
    services = world.services()
    backup = world.back_up(services).id
    us = world.targets["us"]
    name = first_container(us)
    kept = b"".join(us.read(name))
    damage(us, name)
    finish(submit_verify(services, backup=backup), services)
    us.delete(name)
    us.put(name, [kept], size=len(kept), sha256=bytes.fromhex(name.rpartition("/")[2]))
    finish(submit_verify(services, backup=backup, depth=Depth.PRESENT), services)
    assert depths(services, backup)["us"] is Depth.PRESENT


class Refusing(MemoryTarget):
    """A target that takes nothing of a kind while it is ``closed``."""

    closed = ""

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        if self.closed and name.startswith(self.closed):
            raise TargetFull(f"target '{self.name}' has 0 bytes free")
        return super().put(name, chunks, size=size, sha256=sha256)


@pytest.mark.parametrize("kind", ["containers/", "manifests/"])
def test_a_replica_that_cannot_be_repaired_says_why_and_the_next_repair_brings_it_up(
    tmp_path: Path, kind: str
) -> None:
    us = Refusing(name="us", region="us")
    eu, ap = (MemoryTarget(name=name, region=name) for name in ("eu", "ap"))
    world = make_world(tmp_path).with_targets({"eu": eu, "us": us, "ap": ap})
    us.closed = kind
    services = world.services()
    backup = world.back_up(services)
    assert "no good replica on us" in str(backup.error)
    repaired = finish(submit_repair(services, backup=backup.id), services)
    assert repaired.state is RunState.DEGRADED
    assert str(repaired.error) == "no good replica on us: TargetFull: target 'us' has 0 bytes free"
    us.closed = ""
    assert finish(submit_repair(services, backup=backup.id), services).state is RunState.DONE
    assert good_replicas(services, backup.id) == {"eu", "us", "ap"}


def test_a_repair_is_not_concluded_from_a_record_in_which_its_copies_have_not_ended(world: World) -> None:
    """A reader of an old state of the database would take a whole replica for one that was given up."""
    services = world.services()
    backup = world.back_up(services).id
    us = world.targets["us"]
    us.delete(first_container(us))
    run, tickets = submit_repair(services, backup=backup)
    (copy,) = perform(tickets[0], services)
    with pytest.raises(StateUnavailable):
        publish(services.store.load(run), RunStep(StepKind.COMMIT), services)
    assert drive(run, [copy], services, processes=1).state is RunState.DONE
