"""What needs a backup, and for how long."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from strongroom.model import Depth
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import perform
from strongroom.operations.evidence import access_log
from strongroom.operations.restore.journal import DONE, JOURNAL, STOPPED, Journal
from strongroom.operations.retention.rules import needed_backups
from strongroom.operations.rotation.job import submit_rotation
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.times import rfc3339
from tests.operations.drills.drilling import submitted
from tests.operations.world import POLICY, World, made_up, make_world

DAY = 86_400.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, secrets=made_up(6), pieces=1)


def needed(services: Services, *, after: float = 0.0) -> dict[str, str]:
    return needed_backups(services, now=time.time() + after)


def test_a_run_needs_the_backup_that_it_makes_and_the_one_that_it_reads_until_it_ends(world: World) -> None:
    made = world.back_up().id
    services = world.services()
    assert needed(services) == {}
    making = submit_backup(services, policy=POLICY)
    reading = submit_verify(services, backup=made, depth=Depth.DIGEST)
    found = needed(services)
    assert f"run {reading[0]} (verify)" in found[made]
    assert making[0] in found
    for run, tickets in (making, reading):
        drive(run, tickets, services, processes=1)
    assert needed(services) == {}


def test_a_drill_needs_the_backup_that_it_picked(world: World) -> None:
    made = world.back_up().id
    services = world.services()
    run, [planning] = submitted(services, within_days=30.0)
    assert made not in needed(services)
    tickets = perform(planning, services)
    assert f"run {run} (drill)" in needed(services)[made]
    drive(run, tickets, services, processes=1)
    assert made not in needed(services)


def test_a_rotation_needs_the_backups_that_it_names_or_all_of_its_policy(world: World) -> None:
    first, second = world.back_up().id, world.back_up().id
    services = world.services()
    run, _ = submit_rotation(services, policy=POLICY, options=RotateOptions(backups=(first,)))
    assert (first in needed(services), second in needed(services)) == (True, False)
    services.store.cancel(run)
    everything = replace(world, database=f"sqlite:///{world.folder / 'other.db'}").services()
    for backup in (first, second):
        entry = services.store.backup(backup)
        assert entry is not None
        everything.store.put_backup(entry, services.store.replicas(backup))
    submit_rotation(everything, policy=POLICY, options=RotateOptions())
    assert {first, second} <= needed(everything).keys()


def test_a_command_that_began_to_read_a_backup_needs_it_for_a_day(world: World) -> None:
    services = world.services()
    access_log.record_access(world.folder, access_log.ATTEMPTED, command="restore", backup="B", where="eu")
    access_log.take(world.folder, services.store)
    assert "'restore' began to read it" in needed(services)["B"]
    assert needed(services, after=DAY + 60) == {}


@pytest.mark.parametrize(
    ("ended", "continued", "age", "is_needed"),
    [
        ("", "", 0.0, True),
        (STOPPED, "", 29 * DAY, True),
        (STOPPED, "", 31 * DAY, False),
        (DONE, "", 0.0, False),
        (STOPPED, "another", 0.0, False),
    ],
)
def test_a_restore_that_may_go_on_needs_its_backup(
    ended: str, continued: str, age: float, is_needed: bool, world: World
) -> None:
    folder = world.folder / "undo" / "one"
    folder.mkdir(parents=True)
    began = rfc3339(time.time() - age)
    journal = Journal(
        started_at=began, backup="B", to="vault", goes_on="", ended=ended, continued_by=continued
    )
    (folder / JOURNAL).write_bytes(msgspec.json.encode(journal))
    assert ("B" in needed(world.services())) == is_needed
