"""A backup to a single file, and what is left when its process is killed or interrupted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest

from strongroom.model import COMMAND
from strongroom.operations.archive.open import open_backup
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.state.records import RunState, StepKind, Ticket
from strongroom.system.errors import WouldOverwrite
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.single_file import BundleReader
from tests.operations.world import World, make_world, names_on


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = make_world(tmp_path)
    stage = DirectoryTarget(tmp_path / "stage", name="stage", region="local")
    stage.prepare()
    return world.with_stage(stage)


def back_up(world: World, path: Path, watch: Callable[[Ticket], None] | None = None) -> None:
    recipients = [world.identity.recipient()]
    backup_to_file(path, source=world.source, recipients=recipients, services=world.services(), watch=watch)


def die_after_capture(ticket: Ticket) -> None:
    if ticket.step.kind is StepKind.CAPTURE:
        os.kill(os.getpid(), signal.SIGKILL)


def interrupt_after_capture(ticket: Ticket) -> None:
    if ticket.step.kind is StepKind.CAPTURE:
        raise KeyboardInterrupt


def killed(world: World, path: Path) -> None:
    child = get_context("fork").Process(target=back_up, args=(world, path, die_after_capture))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


def test_every_secret_is_in_the_file(world: World, tmp_path: Path) -> None:
    back_up(world, tmp_path / "weekly")
    with BundleReader(tmp_path / "weekly") as bundle:
        backup = open_backup(bundle, identities=[world.identity], trusted=None)
        assert sorted(secret.name for secret in backup.secrets()) == [f"app/{n:04}" for n in range(30)]


def test_a_file_that_exists_is_not_touched(world: World, tmp_path: Path) -> None:
    (tmp_path / "weekly").write_text("mine")
    with pytest.raises(WouldOverwrite):
        back_up(world, tmp_path / "weekly")
    assert (tmp_path / "weekly").read_text() == "mine"


def test_what_a_killed_backup_left_is_gone_after_the_next(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    killed(world, folder / "weekly")
    assert names_on(world.stage) != []
    assert [path.suffix for path in folder.iterdir()] == [".part"]
    back_up(world, folder / "weekly")
    assert names_on(world.stage) == []
    assert [path.name for path in folder.iterdir()] == ["weekly"]
    states = [run.state for run in world.services().store.runs() if run.spec.policy == COMMAND]
    assert sorted(states) == [RunState.CANCELLED, RunState.DONE]


def test_an_interrupted_backup_leaves_nothing(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        back_up(world, folder / "weekly", interrupt_after_capture)
    assert names_on(world.stage) == []
    assert list(folder.iterdir()) == []
    assert [run.state for run in world.services().store.runs()] == [RunState.CANCELLED]
