"""One server by two addresses is one server: nothing counts there twice, or as apart from its source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from strongroom.operations.backup.plan import check_homes
from strongroom.operations.engine.integrity import pin_target
from strongroom.sources.vault import VaultSource
from strongroom.state.records import Run, RunState
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.resilient import Resilient
from strongroom.targets.vault import VaultTarget
from strongroom.vault.client import Vault
from strongroom.vault.transport import VaultConnection
from tests.live.openbao import OpenBao
from tests.operations.world import World, make_world


def by_name(connection: VaultConnection) -> Vault:
    """Reach the same server by another address."""
    return Vault(structs.replace(connection, address=connection.address.replace("127.0.0.1", "localhost")))


def target(vault: Vault, name: str, mount: str) -> VaultTarget:
    return VaultTarget(vault, mount=mount, name=name, region=name)


def run_to(world: World, targets: dict[str, Any], source: Any, *, counts: bool = True) -> Run:
    """Back the source up to a memory and these targets."""
    places = {"memory": MemoryTarget(name="memory", region="memory")} | {
        name: Resilient(one) for name, one in targets.items()
    }
    pins = [pin_target(name, place, counts=counts or name == "memory") for name, place in places.items()]
    there = replace(world, targets=places).with_spec(targets=tuple(pins), quorum=1, regions=1)
    return there.back_up(there.services(sources={"vault": source}))


@pytest.fixture
def connection(own_openbao: OpenBao, tmp_path: Path) -> VaultConnection:
    own_openbao.put("secret/", "app", {"password": "CANARY"})
    for mount in ("one", "two"):
        own_openbao.mount(mount)
    return own_openbao.connection(tmp_path, patience_seconds=1.0)


def test_a_target_in_the_source_under_another_address_is_refused(
    connection: VaultConnection, tmp_path: Path
) -> None:
    source = VaultSource(Vault(connection), mounts=("secret",))
    inside = target(by_name(connection), "inside", "one")
    run = run_to(make_world(tmp_path), {"inside": inside}, source)
    assert run.state is RunState.FAILED
    assert "'inside' and source 'vault' are one Vault server under two addresses" in (run.error or "")
    assert list(inside.list()) == []


def test_a_target_that_is_known_not_to_count_may_lie_there(
    connection: VaultConnection, tmp_path: Path
) -> None:
    source = VaultSource(Vault(connection), mounts=("secret",))
    inside = target(Vault(connection), "inside", "one")
    run = run_to(make_world(tmp_path), {"inside": inside}, source, counts=False)
    assert (run.state, run.error) == (RunState.DONE, None)


def test_two_targets_in_one_server_are_refused(connection: VaultConnection, tmp_path: Path) -> None:
    world = make_world(tmp_path)
    targets = {
        "a": target(Vault(connection), "a", "one"),
        "b": target(by_name(connection), "b", "two"),
    }
    run = run_to(world, targets, world.source)
    assert run.state is RunState.FAILED
    assert "'b' and target 'a' are one Vault server" in (run.error or "")


def test_a_server_that_is_down_stops_no_plan(
    connection: VaultConnection, own_openbao: OpenBao, tmp_path: Path
) -> None:
    world = make_world(tmp_path)
    there = world.with_targets(world.targets | {"down": Resilient(target(Vault(connection), "down", "one"))})
    own_openbao.kill()
    check_homes(there.spec, there.source, there.services())
