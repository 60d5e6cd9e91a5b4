"""What makes a backup: how many targets, regions and providers, and which of them count."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from strongroom.operations.archive.open import read_manifest
from strongroom.operations.engine.integrity import pin_target
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import Run, RunState
from strongroom.targets import Target
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import REGIONS, World, made_up, make_world, names_on


def _pinned(world: World, targets: Mapping[str, Target], *, lost: str = "", **fields: object) -> World:
    """Return the world with these targets, of which ``lost`` would be lost with the source."""
    pins = tuple(pin_target(name, target, counts=name != lost) for name, target in targets.items())
    return world.with_spec(targets=pins, **fields)


def _backed_up(world: World, targets: Mapping[str, Target]) -> Run:
    return world.back_up(world.services(targets=targets))


def test_a_target_that_is_lost_with_the_source_does_not_count(tmp_path: Path) -> None:
    world = make_world(tmp_path, quorum=3, regions=1)
    run = _backed_up(_pinned(world, world.targets, lost="us"), world.targets)
    assert run.state is RunState.FAILED
    assert "2 of the 3 targets" in (run.error or "")
    assert names_on(world.targets["eu"]) == []


def test_such_a_target_holds_a_replica_all_the_same_and_the_manifest_says_so(tmp_path: Path) -> None:
    world = make_world(tmp_path, quorum=2, regions=2)
    run = _backed_up(_pinned(world, world.targets, lost="us"), world.targets)
    assert run.state is RunState.DONE
    manifest = read_manifest(world.targets["us"], run.id, trusted=None)
    assert {target.name: target.counts for target in manifest.targets} == {
        "eu": True,
        "us": False,
        "ap": True,
    }


@pytest.mark.parametrize(("providers", "state"), [(2, RunState.DONE), (3, RunState.FAILED)])
def test_a_policy_may_demand_several_providers(tmp_path: Path, providers: int, state: RunState) -> None:
    world = make_world(tmp_path)
    run_by = {"eu": "aws", "us": "azure", "ap": "aws"}
    targets = {name: MemoryTarget(name=name, region=name, provider=run_by[name]) for name in REGIONS}
    run = _backed_up(_pinned(world, targets, providers=providers), targets)
    assert run.state is state
    assert ("2 of the 3 providers" in (run.error or "")) == (state is RunState.FAILED)


class _Part(MemoryStore):
    """A source that stands for a server of which it can give only the secrets."""

    def not_contained(self) -> tuple[str, ...]:
        return ("the certificates of the PKI engine at pki/",)


def test_a_backup_says_what_it_does_not_contain(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    run = world.back_up(world.services(sources={"vault": _Part(made_up(3), name="vault")}))
    manifest = read_manifest(world.targets["eu"], run.id, trusted=None)
    assert manifest.not_contained == ("the certificates of the PKI engine at pki/",)
