"""Whose run is abandoned, when somebody else has taken it up since its process died."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from strongroom.operations.backup import outcome as abandoned_backups
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine import drive, process_lock
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import perform, recover
from strongroom.state import filesystem
from strongroom.system import files
from tests.operations.world import POLICY, World, make_world


def killed_while_planning(world: World, services: Services) -> str:
    """Leave a run as a process leaves it that was killed in its first step, its lease over."""
    run, [ticket] = submit_backup(services, policy=POLICY)
    assert services.store.claim(ticket, owner=services.owner, lease=0.0)
    folder = services.state_dir / process_lock.FOLDER
    folder.mkdir(parents=True)
    (folder / f"{run}.00").write_text(services.owner)
    return run


def test_a_run_that_others_have_taken_up_is_not_ended_between_two_of_their_steps(tmp_path: Path) -> None:
    world = make_world(tmp_path, pieces=3)
    ours = replace(world.services(), owner="here:1:operator")
    cluster = replace(world.services(), owner="there:2:seal")
    run = killed_while_planning(world, ours)
    assert drive.is_abandoned(ours.store.load(run), ours.store, ours.state_dir)
    recover(cluster)
    [planning] = cluster.store.take_ready(run, window=9)
    perform(planning, cluster)
    assert not drive.is_abandoned(ours.store.load(run), ours.store, ours.state_dir)
    assert abandoned_backups.end_abandoned(ours, policy=POLICY) == []
    assert not ours.store.load(run).state.final


def test_no_lock_is_relied_on_where_another_host_may_not_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "kind_of", lambda path: "nfs4")
    with process_lock.driving(tmp_path, "run", "here:1:operator"):
        assert process_lock.status(tmp_path, "run").alive is False
        assert not (tmp_path / process_lock.FOLDER).exists()


def test_who_drives_next_sweeps_what_dead_processes_left_but_for_what_can_be_gone_on_with(
    tmp_path: Path,
) -> None:
    services = make_world(tmp_path, pieces=1).services()
    ended, goes_on = (submit_backup(services, policy=POLICY)[0] for _ in range(2))
    services.store.cancel(ended)
    drive.end(ended, services)
    folder = services.state_dir / process_lock.FOLDER
    folder.mkdir(exist_ok=True)
    for name in (f"{ended}.00", f"{goes_on}.00", "unknown.00", f".{goes_on}.01"):
        (folder / name).write_text("another:1:operator")
    with process_lock.driving(services.state_dir, ended, "living"):
        drive.drive(*submit_backup(services, policy=POLICY), services, processes=1)
        left = {file.name for file in folder.iterdir()}
        assert {f"{goes_on}.00"} < left
        assert len(left) == 2
    assert drive.is_abandoned(services.store.load(goes_on), services.store, services.state_dir)


def test_a_sweep_before_a_living_process_has_its_lock_costs_it_no_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept, take = list[Path](), files.open_locked

    def swept_once(path: Path, flags: int) -> int:
        descriptor = take(path, flags)
        if not swept:
            swept.append(path)
            path.unlink()
        return descriptor

    monkeypatch.setattr(files, "open_locked", swept_once)
    with process_lock.driving(tmp_path, "r1", "living"):
        assert swept
        assert process_lock.status(tmp_path, "r1").alive


def test_what_another_user_left_and_nobody_else_may_remove_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / process_lock.FOLDER).mkdir()
    (tmp_path / process_lock.FOLDER / "r1.00").write_text("another:1:operator")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "unlink", refused)
    process_lock.sweep(tmp_path, lambda _: True)
    assert process_lock.status(tmp_path, "r1").gone == {"another:1:operator"}
