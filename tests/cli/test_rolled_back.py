"""A target that was put back to before a rotation: noticed where another target or the record is at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from strongroom.container.errors import Stale
from tests.cli.conftest import configure, stock
from tests.cli.program import REGIONS, Machine


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine whose one backup was rotated to ``new.key`` on three targets."""
    machine = stock(Machine(tmp_path_factory.mktemp("rolled") / "machine"))
    configure(machine)
    machine.ok("keys", "new", "--output", "new.key")
    machine.ok("backup", "--policy", "full", "--force")
    shutil.copytree(machine.path("regions"), machine.path("before"))
    machine.ok("keys", "replace", "--current-key", "recovery.key", "--new-key", "new.key", "--policy", "full")
    return machine


def put_back(machine: Machine, region: str) -> Path:
    folder = machine.path("regions") / region
    shutil.rmtree(folder)
    shutil.copytree(machine.path("before") / region, folder)
    return folder


def test_a_target_that_was_put_back_to_before_a_rotation_is_told_and_is_not_exit_0(rotated: Machine) -> None:
    """B8: it verified without a word, and opened for whoever was rotated away."""
    first, *others = REGIONS
    assert rotated.ok("backups", "verify", first, "--identity", "new.key").code == 0
    put_back(rotated, first)
    done = rotated.run("backups", "verify", first, "--identity", "recovery.key")
    assert done.failed_with(Stale), done
    assert "at 2 elsewhere" in " ".join(done.err.split()), done
    restored = rotated.run(
        *("restore", "--from-target", first, "--full-restore", "--dry-run", "--identity", "recovery.key")
    )
    assert restored.failed_with(Stale), restored
    assert "at 2 elsewhere" in restored.err, restored
    assert "Nothing was written" in restored.out

    for other in others:  # with every target put back, the record of rotations still knows
        put_back(rotated, other)
    assert rotated.run("backups", "verify", first, "--identity", "recovery.key").failed_with(Stale)
