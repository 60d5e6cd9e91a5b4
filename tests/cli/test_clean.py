"""list --verify-clean: what is in the way of a recovery is named, and looking makes nothing."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from strongroom.errors import UsageError
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.checks.machine import in_runs, on_disk
from strongroom.operations.engine import process_lock
from strongroom.sources.errors import SecretNotFound
from strongroom.state.errors import StateError
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import Machine
from tests.operations.world import POLICY, make_world

CLEAN = ("list", "--verify-clean")


def everything_under(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_machine_on_which_nothing_happened_is_clean_and_stays_as_it_is(machine: Machine) -> None:
    done = machine.ok(*CLEAN)
    assert "clean: it holds no secret, and no earlier recovery" in done.out
    assert machine.ok("list", "--json").document["secrets"] == []
    assert machine.run("get", "NOBODY").failed_with(SecretNotFound)
    assert everything_under(machine.home) == []


def test_a_store_that_holds_secrets_is_not_clean_and_what_to_do_is_said(stocked: Machine) -> None:
    done = stocked.run(*CLEAN, "--json")
    assert done.failed_with(WouldOverwrite)
    assert not done.document["clean"]
    assert done.document["secrets"] == 3
    said = " ".join(done.err.split())
    assert "holds 3 secrets" in said
    assert "'strongroom backup pre_recovery.strongroom --include-values'" in said
    assert "--overwrite-existing" in said
    assert "CANARY" not in done.out + done.err
    assert stocked.run(*CLEAN, "--include", "nothing/*").code == 0


@pytest.mark.parametrize(
    "name",
    [
        "undo/20261101T000000Z-aa/.0001.strongroom.0011aabb.part",
        "drills/a-run/x",
        "tmp/snapshot-1/x",
        "rehearsals/strongroom-rehearsal-0123456789abcdef/keys",
    ],
)
def test_what_an_earlier_recovery_left_half_made_is_named(machine: Machine, name: str) -> None:
    left = machine.state / name
    left.parent.mkdir(parents=True)
    left.touch()
    done = machine.run(*CLEAN, "--json")
    assert done.failed_with(WouldOverwrite)
    [one] = done.document["left"]
    assert str(left).startswith(one["where"])
    assert "1 thing half-made" in " ".join(done.err.split())


def test_whole_ways_back_are_counted_and_are_not_in_the_way(machine: Machine) -> None:
    folder = machine.state / "undo" / "20261101T000000Z-aa"
    folder.mkdir(parents=True)
    (folder / "0001.strongroom").touch()
    assert "1 earlier restore overwrote" in machine.ok(*CLEAN).out


def test_what_cannot_be_restored_into_cannot_be_clean(machine: Machine) -> None:
    machine.path("a.env").write_text("A=CANARY\n")
    assert machine.run(*CLEAN, "--source", "files:a.env").failed_with(UsageError)


def test_what_somebody_is_at_work_on_is_not_left(tmp_path: Path) -> None:
    part = tmp_path / "undo" / "one" / ".0001.strongroom.0011aabb.part"
    part.parent.mkdir(parents=True)
    (tmp_path / "drills" / "submitted").mkdir(parents=True)
    with part.open("wb") as file, process_lock.driving(tmp_path, "driven", "somebody"):
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        (tmp_path / "drills" / "driven").mkdir()
        assert list(on_disk(tmp_path, active=["submitted"])) == []
    assert len(list(on_disk(tmp_path))) == 3


def test_a_run_whose_process_died_is_named(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    services = world.services()
    run, _ = submit_backup(services, policy=POLICY)
    assert list(in_runs(services.store, tmp_path)) == []
    folder = tmp_path / process_lock.FOLDER
    folder.mkdir()
    (folder / f"{run}.0011").write_text("a process that is gone")
    [one] = in_runs(services.store, tmp_path)
    assert one.where == f"run {run}"
    assert f"strongroom runs cancel {run}" in one.to_do


def test_a_record_that_cannot_be_read_is_never_called_clean(machine: Machine) -> None:
    machine.state.mkdir()
    (machine.state / "state.db").write_bytes(b"no database" * 100)
    done = machine.run("list", "--verify-clean")
    assert done.failed_with(StateError)
    assert "is clean" not in done.out
    scratch = machine.state / "drills" / "x"
    scratch.mkdir(parents=True)
    assert machine.run("list", "--verify-clean").failed_with(WouldOverwrite), "what was found counts for more"
