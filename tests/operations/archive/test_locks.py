"""Locks: extended once a backup is whole, and said where they could not be."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

from strongroom.container.marks import HEAD
from strongroom.errors import TargetError
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.archive.removal import left_unlocked
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import open_due
from strongroom.state.records import Run, RunKind, RunState
from strongroom.targets import Target
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import World, make_world, names_on

REPAIR = [Scheduled(name="repair", kind=RunKind.REPAIR, schedule="17 * * * *")]

KEEP_DAYS = 400
HOUR = 3600.0


class Bucket(MemoryTarget):
    """A target in memory that locks, but for names that begin with ``refuses``."""

    locks = True

    def __init__(self, *, refuses: str = "none") -> None:
        super().__init__(name="us", region="us")
        self.until: dict[str, datetime] = {}
        self.refuses = refuses

    def extend_lock(self, name: str, until: datetime) -> datetime:
        if name.startswith(self.refuses):
            raise TargetError("this credential may not lock objects")
        self.until[name] = until
        return until

    def locked_until(self, name: str) -> datetime | None:
        return self.until.get(name)


def _with(bucket: Target, folder: Path) -> tuple[World, dict[str, Target]]:
    world = make_world(folder)
    targets = {**world.targets, "us": bucket}
    pins = tuple(pin_target(name, target) for name, target in targets.items())
    return world.with_spec(targets=pins, minimum_retention_days=KEEP_DAYS), targets


def _until(world: World, run: Run) -> datetime:
    made = read_manifest(world.targets["eu"], run.id, trusted=None).created_at
    return datetime.fromisoformat(made) + timedelta(days=KEEP_DAYS)


def _backup_until(bucket: Bucket) -> dict[str, datetime]:
    """Return until when each object is locked, but for the ledger's heads, which no policy keeps."""
    return {name: until for name, until in bucket.until.items() if not name.startswith(HEAD.prefix)}


def test_a_whole_backup_is_locked_for_as_long_as_its_policy_keeps_it(tmp_path: Path) -> None:
    bucket = Bucket()
    world, targets = _with(bucket, tmp_path)
    run = world.back_up(world.services(targets=targets))
    assert run.state is RunState.DONE
    until = _backup_until(bucket)
    assert until == dict.fromkeys(names_on(bucket), _until(world, run))
    assert list(until)[-1] == f"manifests/{run.id}.json"


def test_a_backup_that_did_not_come_about_is_never_locked_for_long(tmp_path: Path) -> None:
    bucket = Bucket()
    world, targets = _with(bucket, tmp_path)
    few = world.with_spec(quorum=4)
    assert few.back_up(few.services(targets=targets)).state is RunState.FAILED
    assert bucket.until == {}


def test_a_backup_that_could_not_be_locked_is_degraded_and_says_where_and_why(tmp_path: Path) -> None:
    world, targets = _with(Bucket(refuses="containers/"), tmp_path)
    run = world.back_up(world.services(targets=targets))
    pieces = run.facts["plan"]["pieces"]
    assert run.state is RunState.DEGRADED
    assert f"target 'us': {pieces} of {pieces + 1} objects could not be locked" in (run.error or "")
    assert "this credential may not lock objects" in (run.error or "")


def test_a_repair_locks_what_the_backup_could_not(tmp_path: Path) -> None:
    bucket = Bucket(refuses="")
    world, targets = _with(bucket, tmp_path)
    services = world.services(targets=targets)
    run = world.back_up(services)
    assert bucket.until == {}
    bucket.refuses = "none"
    repaired = drive(*submit_repair(services, backup=run.id), services, processes=1)
    assert repaired.state is RunState.DONE
    assert _backup_until(bucket) == dict.fromkeys(names_on(bucket), _until(world, run))


def test_what_could_not_be_locked_is_repaired_by_itself_until_it_is(tmp_path: Path) -> None:
    bucket = Bucket(refuses="containers/")
    world, targets = _with(bucket, tmp_path)
    services = world.services(targets=targets)
    backup = world.back_up(services).id
    assert list(left_unlocked(services.store)[backup]) == ["us"]

    in_vain = _next_repair(services, HOUR)
    bucket.refuses = "none"
    repaired = _next_repair(services, 2 * HOUR)

    assert (in_vain.state, repaired.state) == (RunState.DEGRADED, RunState.DONE)
    assert set(_backup_until(bucket)) == set(names_on(bucket))
    assert left_unlocked(services.store) == {}
    assert open_due(services, REPAIR, now=time.time() + 3 * HOUR) == []


def _next_repair(services: Services, later: float) -> Run:
    tickets = open_due(services, REPAIR, now=time.time() + later)
    return drive(tickets[0].run, tickets, services, processes=1)


def test_a_target_that_is_not_set_up_to_lock_is_left_alone(tmp_path: Path) -> None:
    bucket = Bucket(refuses="")
    bucket.locks = False
    world, targets = _with(bucket, tmp_path)
    assert world.back_up(world.services(targets=targets)).state is RunState.DONE
