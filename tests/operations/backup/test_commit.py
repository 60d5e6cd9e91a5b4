"""A manifest goes where every container lies, whatever the record says; without a quorum it is taken back."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from strongroom.model import ObjectInfo
from strongroom.operations.backup.commit import commit
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.layout import containers_prefix, manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import perform, recover
from strongroom.operations.errors import QuorumNotMet
from strongroom.state.records import Run, RunState, RunStep, StepKind, Ticket
from strongroom.targets.errors import TargetUnavailable
from tests.operations.backup.test_sweep import Absent, absent_targets, objects_of
from tests.operations.world import POLICY, REGIONS, World, make_world, names_on


def say_done(world: World, kind: StepKind) -> None:
    """Have the database say that the first piece is done on 'eu' as soon as it is due."""
    world.services().store.check()
    edited = f"new.kind = '{kind.value}' AND new.target = 'eu' AND new.piece = 0"
    with sqlite3.connect(world.folder / "state.db") as connection:
        connection.execute(
            f"CREATE TRIGGER edited AFTER INSERT ON steps WHEN {edited} "
            "BEGIN UPDATE steps SET state = 'done' WHERE rowid = new.rowid; END"
        )


def test_an_upload_that_only_the_record_says_is_done_brings_no_manifest(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    say_done(world, StepKind.UPLOAD)

    run = world.back_up()

    assert manifest_name(run.id) not in names_on(world.targets["eu"])
    assert run.state is RunState.DEGRADED
    assert "no good replica on eu: MissingPiece: target 'eu' lacks 1 container" in (run.error or "")
    good = {one.target: one.good for one in world.services().store.replicas(run.id)}
    assert good == {"eu": False, "us": True, "ap": True}


def test_a_quorum_that_only_the_record_says_is_met_makes_no_backup(tmp_path: Path) -> None:
    world = make_world(tmp_path, quorum=3, regions=3)
    say_done(world, StepKind.UPLOAD)

    run = world.back_up()

    assert run.state is RunState.FAILED
    assert "QuorumNotMet" in (run.error or "")
    assert "target 'eu' lacks 1 container" in (run.error or "")
    assert not any(manifest_name(run.id) in names_on(target) for target in world.targets.values())


def test_a_container_of_another_size_brings_no_manifest(tmp_path: Path) -> None:
    world = make_world(tmp_path, pieces=1)
    services = world.services()
    run = up_to_the_commit(services)
    eu = world.targets["eu"]
    (found,) = list(eu.list(containers_prefix(run.id)))
    cut(world, found)

    assert commit(run, RunStep(StepKind.COMMIT), services).targets == ("us", "ap")
    assert manifest_name(run.id) not in names_on(eu)


def cut(world: World, found: ObjectInfo) -> None:
    eu = world.targets["eu"]
    short = b"".join(eu.read(found.name))[:-1]
    eu.delete(found.name)
    eu.put(found.name, [short], size=len(short), sha256=hashlib.sha256(short).digest())


def test_a_repair_that_only_the_record_says_is_done_brings_no_manifest(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    backup = world.back_up()
    eu = world.targets["eu"]
    for name in names_on(eu):
        eu.delete(name)
    say_done(world, StepKind.REPAIR)

    services = world.services()
    repaired = drive(*submit_repair(services, backup=backup.id), services, processes=1)

    assert manifest_name(backup.id) not in names_on(eu)
    assert repaired.state is RunState.DEGRADED
    assert "target 'eu' lacks 1 container" in (repaired.error or "")


# -- what a commit takes back --------------------------------------------------------


def up_to_the_commit(services: Services) -> Run:
    """Perform a backup as far as its uploads go."""
    run, queue = submit_backup(services, policy=POLICY)
    while queue:
        ticket = queue.pop(0)
        if ticket.step.kind is not StepKind.COMMIT:
            queue += perform(ticket, services)
    return services.store.load(run)


def test_a_commit_without_quorum_takes_back_the_manifests_that_it_created(tmp_path: Path) -> None:
    targets = absent_targets()
    services = make_world(tmp_path, pieces=1).with_targets(targets).services()
    run = up_to_the_commit(services)

    def refuses(name: str, *_: object, **__: object) -> bool:
        raise TargetUnavailable("it does not answer")

    for name in ("us", "ap"):
        targets[name].put = refuses  # type: ignore[method-assign]
    with pytest.raises(QuorumNotMet):
        commit(run, RunStep(StepKind.COMMIT), services)
    assert manifest_name(run.id) not in names_on(targets["eu"])


def test_a_commit_without_quorum_leaves_a_manifest_that_was_there_before(tmp_path: Path) -> None:
    """An edited row may have a good backup's commit done again while its other targets are away."""
    targets = absent_targets()
    world = make_world(tmp_path, pieces=1).with_targets(targets)
    good = world.back_up()
    before = objects_of(targets, good.id)
    services = world.services()

    def refuses(name: str, *_: object, **__: object) -> bool:
        raise TargetUnavailable("it does not answer")

    for name in ("us", "ap"):
        targets[name].put = refuses  # type: ignore[method-assign]
    with pytest.raises(QuorumNotMet):
        commit(good, RunStep(StepKind.COMMIT), services)
    assert objects_of(targets, good.id) == before


def test_a_commit_that_comes_back_after_its_run_was_cancelled_and_swept_leaves_no_manifest(
    tmp_path: Path,
) -> None:
    """A worker that was stopped in the commit for longer than its lease."""
    world = make_world(tmp_path, pieces=1)
    services = world.services()
    run = up_to_the_commit(services)
    ticket = Ticket(run.id, RunStep(StepKind.COMMIT), dispatch_of(world, run.id))
    us = world.targets["us"]
    original = us.put

    def cancelled_meanwhile(name: str, *given: object, **named: object) -> bool:
        us.put = original  # type: ignore[method-assign]
        store = world.services().store
        store.cancel(run.id)
        store.forsake(run.id, owners=[services.owner])
        other = world.services()
        recover(other)
        queue = store.take_ready(run.id, window=8)
        while queue:
            queue += perform(queue.pop(0), other)
        return original(name, *given, **named)  # type: ignore[arg-type]

    us.put = cancelled_meanwhile  # type: ignore[method-assign]
    perform(ticket, services)
    assert services.store.load(run.id).state is RunState.CANCELLED
    assert {name: names_on(target) for name, target in world.targets.items()} == {
        name: [] for name in REGIONS
    }
    assert services.store.backup(run.id) is None


def dispatch_of(world: World, run: str) -> int:
    with sqlite3.connect(world.folder / "state.db") as connection:
        found = connection.execute("SELECT dispatch FROM steps WHERE run = ? AND kind = 'commit'", (run,))
        number: int = found.fetchone()[0]
        return number


# -- a commit that was cut off ---------------------------------------------------------


class Died(BaseException):
    """The process is gone: nothing of it runs any more."""


class Cut(Absent):
    """A target whose next manifest ends the process."""

    kills = False

    def put(self, name: str, *given: Any, **named: Any) -> bool:
        if self.kills and name.startswith("manifests/"):
            raise Died
        return super().put(name, *given, **named)


def cut_off(tmp_path: Path) -> tuple[World, dict[str, Absent], str]:
    """Return a backup whose commit died after it had placed the first manifest; the others are away since."""
    targets: dict[str, Absent] = absent_targets() | {"us": Cut(name="us", region="us")}
    world = make_world(tmp_path, pieces=1).with_targets(targets)
    services = world.services()
    run = up_to_the_commit(services)
    targets["us"].kills = True  # type: ignore[attr-defined]
    with pytest.raises(Died):
        perform(Ticket(run.id, RunStep(StepKind.COMMIT), dispatch_of(world, run.id)), services)
    services.store.forsake(run.id, owners=[services.owner])
    targets["us"].kills = False  # type: ignore[attr-defined]
    targets["us"].away = targets["ap"].away = True
    return world, targets, run.id


def go_on(world: World, run: str) -> Run:
    services = world.services()
    recover(services)
    queue = services.store.take_ready(run, window=8)
    return drive(run, queue, services, processes=1)


def test_a_manifest_that_a_dead_commit_placed_below_the_quorum_is_in_the_catalog_and_completed(
    tmp_path: Path,
) -> None:
    world, targets, run = cut_off(tmp_path)

    ended = go_on(world, run)

    assert ended.state is RunState.FAILED
    assert ended.facts["report"]["kept"] == ["eu"]
    services = world.services()
    good = {one.target: one.good for one in services.store.replicas(run)}
    assert good == {"eu": True, "us": False, "ap": False}

    targets["us"].away = targets["ap"].away = False
    assert drive(*submit_repair(services, backup=run), services, processes=1).state is RunState.DONE
    assert all(one.good for one in services.store.replicas(run))


def test_what_was_away_when_its_run_ended_is_entered_once_it_answers(tmp_path: Path) -> None:
    world, targets, run = cut_off(tmp_path)
    targets["eu"].away = True
    assert go_on(world, run).state is RunState.FAILED
    assert world.services().store.backup(run) is None

    for target in targets.values():
        target.away = False
    world.back_up()

    assert [one.target for one in world.services().store.replicas(run) if one.good] == ["eu"]
