"""Restore runs into a live OpenBao, killed between two writes: gone on with, and nothing written twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from strongroom.operations.engine.drive import drive
from strongroom.operations.restore import staged
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions, UndoOptions, facts_of
from strongroom.operations.restore.undo_job import submit_undo
from strongroom.sources import Destination
from strongroom.state.records import RunState
from strongroom.targets.directory import DirectoryTarget
from tests.live.openbao import OpenBao
from tests.live.test_undo import killed_at
from tests.live.vault_parts import source_of
from tests.operations.world import World, make_world

KEYS = 9
SOME = [3, 17]


def histories(mount: str) -> list[Secret]:
    """Return secrets of three versions each, every third of them critical."""
    versions = tuple(
        SecretVersion(
            number=number, value=SecretBytes(b'{"password":"CANARY-%d"}' % number), media=Media.JSON
        )
        for number in (1, 2, 3)
    )
    return [
        Secret(
            name=f"{mount}app/{number}",
            tags={"priority": "critical" if number % 3 == 0 else "low"},
            versions=versions,
        )
        for number in range(KEYS)
    ]


def perform(world: World, run: str, there: Destination) -> None:
    services = world.services(destinations={"there": there})
    drive(run, services.store.take_ready(run, window=8), services, processes=1)


@pytest.mark.parametrize("at", [*SOME, *(pytest.param(n, marks=pytest.mark.long) for n in range(0, 60, 4))])
def test_a_run_killed_between_two_writes_to_vault_ends_as_planned_and_its_undo_gives_the_former_state(
    openbao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(staged, "LEAST", 2)
    mount = openbao.mount(f"killed-{at}")
    there = source_of(openbao, tmp_path, mounts=(mount,), system=False)
    stage = DirectoryTarget(tmp_path / "stage", name="stage", region="local")
    stage.prepare()
    world = make_world(tmp_path, secrets=histories(mount)).with_stage(stage)
    backup = world.back_up().id
    openbao.put(mount, "app/4", {"password": "CANARY-theirs"})
    services = world.services(hands_out=False)

    options = RestoreOptions(destination="there", overwrite=True)
    restore, _ = submit_restore(services, backup=backup, options=options)
    killed_at(at, monkeypatch, lambda: perform(world, restore, there))
    perform(world, restore, there)
    run = services.store.load(restore)
    done, compared = facts_of(run).restore, facts_of(run).restore_compare
    assert (run.state, run.error) == (RunState.DONE, None)
    assert done is not None
    assert compared is not None
    assert (done.created, done.changed, compared.same, compared.differ) == (KEYS - 1, 1, KEYS, 0)
    assert there.heads([f"{mount}app/{number}" for number in range(KEYS)]) == {
        f"{mount}app/{number}": 4 if number == 4 else 3 for number in range(KEYS)
    }

    undo, _ = submit_undo(services, options=UndoOptions(undoes=restore))
    killed_at(at, monkeypatch, lambda: perform(world, undo, there))
    perform(world, undo, there)
    assert services.store.load(undo).state is RunState.DONE
    assert [entry.name for entry in there.list()] == [f"{mount}app/4"]
    assert openbao.data(f"{mount}data/app/4")["data"] == {"password": "CANARY-theirs"}
    openbao.unmount(mount)
