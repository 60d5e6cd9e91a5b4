"""A whole server: backed up into one file, lost, and brought back on an empty one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.container.bundle import BundleReader
from strongroom.operations.backup_file import backup_to_file
from strongroom.operations.open import open_backup
from strongroom.operations.restore import Restored, chosen, restore
from strongroom.sources.vault import VaultSource
from strongroom.sources.vault.writing import TIMES
from tests.live.openbao import OpenBao, dev_server
from tests.live.vault_parts import READ, RESTORE, source_of, with_policies
from tests.live.vault_seeds import Seeds, everything
from tests.operations.world import World, make_world

ELSEWHERE = {'"secret/': '"deep/er/secret/', '"+/': '"team/sub/', "kv1/": "plain/"}
"""The mounts and the namespace that the shipped policies do not name."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def back_up(world: World, source: VaultSource, path: Path) -> None:
    recipients = [world.identity.recipient()]
    backup_to_file(path, source=source, recipients=recipients, services=world.services())


def bring_back(world: World, path: Path, destination: VaultSource, *, overwrite: bool = False) -> Restored:
    with BundleReader(path) as bundle:
        backup = open_backup(bundle, identities=[world.identity], trusted=None)
        return restore(lambda: chosen(backup), destination, overwrite=overwrite)


def test_a_lost_server_comes_back_as_it_was(
    openbao_seeded: Seeds, own_openbao: OpenBao, world: World, tmp_path: Path
) -> None:
    before = everything(openbao_seeded.server)
    with_policies(own_openbao, elsewhere=ELSEWHERE)
    back_up(world, source_of(openbao_seeded.server, tmp_path, *READ), tmp_path / "backup")
    destination = source_of(own_openbao, tmp_path, *RESTORE)
    done = bring_back(world, tmp_path / "backup", destination)
    after = everything(own_openbao)
    assert {name: (before[name], after.get(name)) for name in before if before[name] != after.get(name)} == {}
    assert after.keys() == before.keys()
    assert done.compared == done.created
    assert_losses(destination.losses(), openbao_seeded)


def assert_losses(losses: tuple[str, ...], seeds: Seeds) -> None:
    """Each difference that there may be is listed, and nothing else."""
    assert TIMES in losses
    deleted = {line.split("'")[1] for line in losses if "marked as deleted again" in line}
    assert deleted == seeds.deleted
    other = {line.split(": ", 1)[1] for line in losses if line != TIMES and "marked as deleted" not in line}
    assert other == {
        "will delete itself later than it would have",
        "secret ids cannot be read, so its clients need new ones",
    }


@pytest.fixture(scope="module")
def openbao_seeded() -> Iterator[Seeds]:
    with dev_server() as server:
        with_policies(server, elsewhere=ELSEWHERE)
        yield Seeds(server)
