"""What reading back could not tell leaves a replica as it was known; what it told makes it bad."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from msgspec import structs

from strongroom.container.errors import MissingPiece, Tampered, VerificationFailed
from strongroom.model import Depth, ListedSecret, ObjectInfo, Secret
from strongroom.operations.backup.repair import degraded, submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine import run_log
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import Services, openers
from strongroom.operations.engine.steps import perform
from strongroom.operations.errors import NothingOpens
from strongroom.sources.errors import SourceUnavailable
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import Replica, Run, RunState, StepKind
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import REGIONS, World, make_world, names_on


class Region(MemoryTarget):
    """A region that may be away, wholly or for what it holds of containers."""

    away = False
    mute = False

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        if self.away or (self.mute and name.startswith("containers/")):
            raise TargetUnavailable(f"target '{self.name}' does not answer")
        return super().read(name, offset=offset, length=length)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if self.away:
            raise TargetUnavailable(f"target '{self.name}' does not answer")
        return super().list(prefix)


class Failing(MemoryStore):
    """A source that lists and does not give."""

    error: Exception = SourceUnavailable("the source does not answer")

    def read(self, entries: Iterable[ListedSecret]) -> Iterator[Secret | None]:
        del entries
        raise self.error


@pytest.fixture
def regions() -> dict[str, Region]:
    return {name: Region(name=name, region=name) for name in REGIONS}


@pytest.fixture
def world(tmp_path: Path, regions: dict[str, Region]) -> World:
    return make_world(tmp_path).with_targets(regions)


def sealing_only(world: World, **changed: object) -> Services:
    """A host that has the public half alone, as the README sets one up."""
    return world.services(identities=lambda: (), **changed)


def verified(services: Services, backup: str, depth: Depth) -> Run:
    run, tickets = submit_verify(services, backup=backup, depth=depth)
    return drive(run, tickets, services, processes=1)


def replicas(services: Services, backup: str) -> dict[str, Replica]:
    return {one.target: one for one in services.store.replicas(backup)}


def first_container(target: Region) -> str:
    return next(name for name in names_on(target) if name.startswith("containers/"))


@pytest.mark.parametrize("depth", [Depth.OPENED, Depth.COMPARED, Depth.LIVE])
def test_a_host_that_opens_nothing_calls_no_replica_bad(world: World, depth: Depth) -> None:
    backup = world.back_up().id
    services = sealing_only(world)
    before = replicas(services, backup)
    run = verified(services, backup, depth)
    assert replicas(services, backup) == before
    assert degraded(services) == []
    assert run.state is RunState.FAILED
    error = run_log.parse_error(run.error)
    assert isinstance(error, NothingOpens)
    assert error.message.startswith("not verified on ap, eu, us: this host seals only")
    assert "keys.recovery" in error.hint
    assert f"'strongroom backups verify {backup} --cluster'" in error.hint


def test_damage_is_found_where_nothing_opens(world: World, regions: dict[str, Region]) -> None:
    backup = world.back_up().id
    regions["us"]._objects[first_container(regions["us"])] = b"CANARY-damage"
    services = sealing_only(world)
    run = verified(services, backup, Depth.OPENED)
    assert {name for name, one in replicas(services, backup).items() if not one.good} == {"us"}
    assert run.state is RunState.FAILED
    assert degraded(services) == [backup]


def test_damage_on_too_many_targets_is_told_as_what_it_is(world: World, regions: dict[str, Region]) -> None:
    backup = world.back_up().id
    for name in ("us", "ap"):
        regions[name]._objects[first_container(regions[name])] = b"CANARY-damage"
    run = verified(world.services(), backup, Depth.DIGEST)
    assert run.state is RunState.FAILED
    error = run_log.parse_error(run.error)
    assert isinstance(error, VerificationFailed)
    assert error.message.startswith("read back, but 1 of the 2 targets")


def test_a_backup_that_was_made_and_cannot_be_opened_here_is_degraded_and_whole(world: World) -> None:
    services = sealing_only(world)
    run = world.back_up(services)
    assert run.state is RunState.DEGRADED
    assert (run.error or "").startswith("whole, but not verified on ap, eu, us: this host seals only")
    found = replicas(services, run.id).values()
    assert {(one.good, one.verified, one.verified_at) for one in found} == {(True, None, None)}
    assert degraded(services) == []


def test_a_target_that_does_not_answer_is_not_verified_and_not_bad(
    world: World, regions: dict[str, Region]
) -> None:
    backup = world.back_up().id
    services = world.services()
    before = replicas(services, backup)
    regions["us"].away = True
    run = verified(services, backup, Depth.DIGEST)
    assert (run.state, run.error) == (
        RunState.DEGRADED,
        "not verified on us: target 'us' does not answer",
    )
    found = replicas(services, backup)
    assert found["us"] == before["us"]
    assert (found["eu"].verified, found["eu"].verified_at != before["eu"].verified_at) == (
        Depth.COMPARED,
        True,
    )


def test_with_all_targets_away_nothing_is_said_of_what_they_have(
    world: World, regions: dict[str, Region]
) -> None:
    backup = world.back_up().id
    services = world.services()
    before = replicas(services, backup)
    for region in regions.values():
        region.away = True
    run = verified(services, backup, Depth.DIGEST)
    assert run.state is RunState.FAILED
    assert isinstance(run_log.parse_error(run.error), TargetUnavailable)
    assert f"no target could be asked for the manifest of {backup} (eu, us, ap: " in (run.error or "")
    assert replicas(services, backup) == before


def test_where_those_that_answer_lack_the_manifest_the_one_that_is_away_may_have_it(
    world: World, regions: dict[str, Region]
) -> None:
    backup = world.back_up().id
    services = world.services()
    for name in ("eu", "us"):
        regions[name].delete(manifest_name(backup))
    regions["ap"].away = True
    run = verified(services, backup, Depth.DIGEST)
    assert isinstance(run_log.parse_error(run.error), TargetUnavailable)
    assert "no target that could be asked has the manifest" in (run.error or "")
    regions["ap"].away = False
    regions["ap"].delete(manifest_name(backup))
    run = verified(services, backup, Depth.DIGEST)
    assert isinstance(run_log.parse_error(run.error), MissingPiece)


def test_too_few_targets_that_answer_are_no_success(world: World, regions: dict[str, Region]) -> None:
    backup = world.back_up().id
    services = world.services()
    before = replicas(services, backup)
    for name in ("us", "ap"):
        regions[name].mute = True
    run = verified(services, backup, Depth.DIGEST)
    assert run.state is RunState.FAILED
    assert isinstance(run_log.parse_error(run.error), TargetUnavailable)
    assert {name: replicas(services, backup)[name] for name in ("us", "ap")} == {
        name: before[name] for name in ("us", "ap")
    }


@pytest.mark.parametrize(
    "error", [SourceUnavailable("the source does not answer"), Tampered("the store's file is damaged")]
)
def test_a_source_that_cannot_be_compared_with_tells_nothing_of_the_replicas(
    world: World, error: Exception
) -> None:
    backup = world.back_up().id
    source = Failing(name=world.source.name)
    source.error = error
    services = world.services(sources={source.name: source})
    before = replicas(services, backup)
    run = verified(services, backup, Depth.LIVE)
    assert run.state is RunState.FAILED
    assert "not verified on" in (run.error or "")
    assert replicas(services, backup) == before


@pytest.mark.parametrize("there", [b"", b"CANARY-another manifest"])
def test_a_manifest_that_is_missing_or_another_makes_the_replica_bad(
    world: World, regions: dict[str, Region], there: bytes
) -> None:
    backup = world.back_up().id
    name = f"manifests/{backup}.json"
    regions["us"].delete(name)
    if there:
        regions["us"]._objects[name] = there
    services = world.services()
    run = verified(services, backup, Depth.DIGEST)
    assert (run.state, run.error) == (RunState.DEGRADED, "no good replica on us")
    assert degraded(services) == [backup]


def test_a_manifest_that_is_exchanged_while_it_is_verified_makes_the_replica_bad(
    world: World, regions: dict[str, Region]
) -> None:
    backup = world.back_up().id
    services = world.services()
    run, [plan] = submit_verify(services, backup=backup)
    tickets = perform(plan, services)
    regions["us"]._objects[f"manifests/{backup}.json"] = b"CANARY-another manifest"
    drive(run, tickets, services, processes=1)
    assert not replicas(services, backup)["us"].good
    assert {str(row.error).partition(":")[0] for row in services.store.rows(run, StepKind.VERIFY)} == {
        "None",
        "Tampered",
    }


def test_a_bad_replica_that_cannot_be_read_stays_bad(world: World, regions: dict[str, Region]) -> None:
    backup = world.back_up().id
    regions["us"].delete(first_container(regions["us"]))
    services = world.services()
    verified(services, backup, Depth.DIGEST)
    regions["us"].away = True
    run = verified(services, backup, Depth.DIGEST)
    assert (run.state, run.error) == (RunState.DEGRADED, "no good replica on us")
    assert degraded(services) == [backup]


@pytest.mark.parametrize("submit", [submit_verify, submit_repair])
def test_one_that_was_cancelled_calls_no_replica_bad(world: World, submit: type) -> None:
    backup = world.back_up().id
    services = world.services()
    before = replicas(services, backup)
    run, [plan] = submit(services, backup=backup)
    perform(plan, services)
    services.store.cancel(run, error="enough")
    ended = drive(run, services.store.take_ready(run, window=8), services, processes=1)
    assert ended.state is RunState.CANCELLED
    assert replicas(services, backup) == before


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("hpke", "keys.board.identity_file"),
        ("pkcs11-ec", "keys.board.module, token and pin_file"),
        ("quorum", "the key of the quorum 'board', which its custodians bring together"),
        ("all-of", "a key of each of keys.board.legs"),
        ("keyfile", "keys.board"),
    ],
)
def test_what_is_missing_is_named_by_the_kind_of_key(world: World, kind: str, said: str) -> None:
    pin = structs.replace(world.spec.recipients[0], name="board", type=kind)
    spec = structs.replace(world.spec, recipients=(pin,))
    with pytest.raises(NothingOpens) as caught:
        openers(spec, sealing_only(world))
    assert f"for as long as this takes, {said}" in caught.value.hint
