"""Pruning: what no rule keeps is marked, and deleted once its grace is over; everything else stays."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from strongroom.container.errors import MissingPiece
from strongroom.operations.archive import holds
from strongroom.operations.archive.deletions import (
    counting,
    deleted_from,
    make_mark,
    read_deletions,
    write_deletion,
)
from strongroom.operations.archive.inventory import look_over
from strongroom.operations.backup.repair import degraded, submit_repair
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.engine.services import ConfiguredPolicy, Services
from strongroom.operations.engine.steps import perform
from strongroom.operations.retention.delete import UndeletedBackup, undelete
from strongroom.operations.retention.plan import find_orphans, plan_retention, take_stock
from strongroom.operations.retention.prune import submit_prune
from strongroom.state.records import Replica, Run, RunState, StepKind, Ticket
from strongroom.targets import Target
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.reading import ManifestListing
from strongroom.times import rfc3339
from tests.operations.alerts.test_gather import keys
from tests.operations.archive.test_select_backup import put
from tests.operations.retention.pruning import ONE, Stocked, about, opens, prune, results, sizes, stock
from tests.operations.retention.test_plan import Leaving, shred
from tests.operations.shredding.worlds import Locked
from tests.operations.world import World, names_on


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Stocked:
    return stock(tmp_path_factory.mktemp("stocked"))


@pytest.fixture
def stocked(template: Stocked, tmp_path: Path) -> Stocked:
    return template.copied(tmp_path)


class Telling(MemoryTarget):
    """Notes what is put (+) and deleted (-)."""

    def __init__(self, *, name: str, region: str) -> None:
        super().__init__(name=name, region=region)
        self.told: list[str] = []

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        self.told.append(f"+ {name}")
        return super().put(name, chunks, size=size, sha256=sha256)

    def delete(self, name: str) -> None:
        self.told.append(f"- {name}")
        super().delete(name)


class Clocked(MemoryTarget):
    """Has a clock of its own."""

    behind = 0.0

    def time(self) -> float:
        return time.time() - self.behind


class Interrupted(MemoryTarget):
    """Something else happens once, right before an object of this name is read or put."""

    name_of_the_moment = ""
    happening: Callable[[], object] = lambda: None

    def _happen(self, name: str) -> None:
        if self.name_of_the_moment and name.startswith(self.name_of_the_moment):
            self.name_of_the_moment = ""
            self.happening()

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self._happen(name)
        return super().read(name, offset=offset, length=length)

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        self._happen(name)
        return super().put(name, chunks, size=size, sha256=sha256)


def with_a_database_of_its_own(world: World, folder: Path) -> World:
    """Return another host of the same installation, which knows what this one knew until now."""
    shutil.copy(folder / "state.db", folder / "other.db")
    return replace(world, database=f"sqlite:///{folder / 'other.db'}")


def pass_time(target: Target, backup: str, world: World) -> None:
    """Let the grace of a mark be over."""
    over = make_mark(backup, "marked", reason="", after="2020-01-02T00:00:00Z")
    assert write_deletion(world.services(), [target], over) == {}


def state_of(world: World, backup: str) -> str:
    mark = counting(read_deletions(world.services()).values(), backup)
    return mark.state if mark else ""


def done(run: Run) -> Run:
    assert run.state is RunState.DONE, run.error
    return run


def test_a_backup_is_marked_by_one_prune_and_deleted_by_the_next(stocked: Stocked) -> None:
    world, old, new = stocked
    lying = {name: about(target, old) for name, target in world.targets.items()}

    done(prune(world.services()))
    assert {name: about(target, old) for name, target in world.targets.items()} == lying
    assert state_of(world, old) == "marked"

    done(prune(world.services()))
    assert state_of(world, old) == "deleted"
    for target in world.targets.values():
        assert about(target, old) == []
        assert opens(world, target, new)
    services = world.services()
    assert services.store.backup(old) is None
    assert {one.target for one in services.store.replicas(new) if one.good} == set(world.targets)


def test_what_is_freed_is_what_the_targets_lost(stocked: Stocked) -> None:
    world, _, _ = stocked
    prune(world.services())
    before = sizes(world.targets)
    services = world.services()
    run = done(prune(services))
    found, after = results(services, run), sizes(world.targets)
    assert dict(run.facts["before"]) == before
    assert {name: one.after for name, one in found.items()} == after
    tombstones = {
        name: sum(info.size for info in target.list("deletion/") if info.name.endswith("2.json"))
        for name, target in world.targets.items()
    }
    assert {name: one.freed for name, one in found.items()} == {
        name: before[name] - after[name] + tombstones[name] for name in world.targets
    }


def test_nothing_is_deleted_before_its_grace_is_over(template: Stocked, tmp_path: Path) -> None:
    world, old, _ = template.copied(tmp_path, grace_days=1)
    for _ in range(2):
        run = done(prune(world.services()))
    assert (state_of(world, old), run.facts["waiting"]) == ("marked", 1)
    assert all(opens(world, target, old) for target in world.targets.values())


def test_what_a_person_undeletes_stays_however_often_is_pruned(stocked: Stocked) -> None:
    world, old, _ = stocked
    prune(world.services())
    assert undelete(world.services(), old, reason="an audit", by="ops@host").failed == {}
    for _ in range(2):
        done(prune(world.services()))
    assert all(opens(world, target, old) for target in world.targets.values())
    assert state_of(world, old) == "undeleted"


def test_what_is_undeleted_while_a_prune_looks_whether_it_may_go_stays(
    template: Stocked, tmp_path: Path
) -> None:
    eu = Interrupted(name="eu", region="eu")
    world, old, new = template.copied(tmp_path, eu)
    prune(world.services())
    services = world.services()
    run, [planning] = submit_prune(services)
    tickets = perform(planning, services)
    eu.happening = lambda: undelete(world.services(), old, reason="an audit", by="ops@host")
    eu.name_of_the_moment = f"manifests/{new}.json"
    drive(run, tickets, services, processes=1)
    assert not eu.name_of_the_moment
    assert opens(world, eu, old)


def test_what_replaces_it_and_is_to_be_shredded_since_the_plan_replaces_nothing(stocked: Stocked) -> None:
    world, old, new = stocked
    prune(world.services())
    services = world.services()
    run, [planning] = submit_prune(services)
    tickets = perform(planning, services)
    shred(world.services(), new)
    assert "is shredded" in (drive(run, tickets, services, processes=1).error or "")
    assert all(opens(world, target, old) for target in world.targets.values())


def test_undelete_does_not_claim_what_was_deleted_meanwhile(template: Stocked, tmp_path: Path) -> None:
    eu = Interrupted(name="eu", region="eu")
    world, old, _ = template.copied(tmp_path, eu)
    prune(world.services())
    other = with_a_database_of_its_own(world, tmp_path)
    eu.happening = lambda: prune(other.services())
    eu.name_of_the_moment = "holds/"
    with pytest.raises(MissingPiece, match="deleted while"):
        undelete(world.services(), old, reason="an audit", by="ops@host")


def test_a_hold_that_is_placed_after_the_plan_keeps_a_backup(stocked: Stocked) -> None:
    world, old, _ = stocked
    prune(world.services())
    services = world.services()
    run, [planning] = submit_prune(services)
    tickets = perform(planning, services)
    assert {ticket.step.kind for ticket in tickets} == {StepKind.DELETE}
    holds.hold(world.services(), "backup", old, reason="case 17", by="legal")
    ended = drive(run, tickets, services, processes=1)
    assert ended.state is RunState.DEGRADED
    assert "case 17" in (ended.error or "")
    assert all(opens(world, target, old) for target in world.targets.values())


def test_the_mark_of_a_backup_that_a_rule_keeps_again_is_taken_back(stocked: Stocked) -> None:
    world, old, _ = stocked
    prune(world.services())
    holds.hold(world.services(), "backup", old, reason="case 17", by="legal")
    done(prune(world.services()))
    assert state_of(world, old) == "undeleted"
    holds.release(world.services(), "backup", old, reason="closed", by="legal")
    done(prune(world.services()))
    assert (state_of(world, old), opens(world, world.targets["eu"], old)) == ("marked", True)


def test_where_what_replaces_it_is_not_whole_a_backup_stays(stocked: Stocked) -> None:
    world, old, new = stocked
    prune(world.services())
    services = world.services()
    run, [planning] = submit_prune(services)
    tickets = perform(planning, services)
    lost = next(name for name in names_on(world.targets["eu"]) if name.startswith(f"containers/{new}"))
    world.targets["eu"].delete(lost)
    ended = drive(run, tickets, services, processes=1)
    assert "is not whole on eu" in (ended.error or "")
    assert opens(world, world.targets["eu"], old)
    assert about(world.targets["us"], old) == []


def test_what_replaces_it_is_read_right_before_and_rot_since_its_last_check_keeps_a_backup(
    stocked: Stocked,
) -> None:
    world, old, new = stocked
    services = world.services()
    prune(services)
    began = time.time()
    for name in ("eu", "ap"):  # each was read a moment ago, and was sound
        rot(world.targets[name], new)
    ended = prune(services)
    assert f"{new}, which replaces it, cannot be read on eu (Tampered)" in (ended.error or "")
    assert opens(world, world.targets["eu"], old)
    assert opens(world, world.targets["ap"], old)
    assert about(world.targets["us"], old) == []
    assert [one.target for one in services.store.replicas(new) if not one.good] == ["ap", "eu"]
    read = [one for one in services.store.checks([new]) if one.target == "us" and one.piece >= 0]
    assert min(one.checked_at for one in read) >= began


def test_where_the_one_good_copy_is_the_old_one_a_backup_stays_until_the_newer_is_repaired(
    stocked: Stocked,
) -> None:
    world, old, new = stocked
    prune(world.services())
    for target in world.targets.values():
        rot(target, new)
    prune(world.services())
    assert all(opens(world, target, old) for target in world.targets.values())
    newer = world.back_up().id
    ended = done(prune(world.services()))
    assert results(world.services(), ended)["eu"].backups == (old,)
    assert all(opens(world, target, newer) for target in world.targets.values())


def test_what_replaces_many_is_read_once_in_a_run(template: Stocked, tmp_path: Path) -> None:
    eu = Reading(name="eu", region="eu")
    world, *olds = template.copied(tmp_path, eu)
    newest = world.back_up().id
    prune(world.services())
    eu.read_whole.clear()
    services = world.services()
    assert set(results(services, done(prune(services)))["eu"].backups) == set(olds)
    assert set(Counter(name for name in eu.read_whole if newest in name).values()) == {1}


class Reading(MemoryTarget):
    """Notes the containers that are read to their end."""

    def __init__(self, *, name: str, region: str) -> None:
        super().__init__(name=name, region=region)
        self.read_whole: list[str] = []

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        info = self.stat(name)
        if name.startswith("containers/") and info and length is not None and offset + length > info.size:
            self.read_whole.append(name)
        return super().read(name, offset=offset, length=length)


def rot(target: Target, backup: str) -> None:
    """Change a byte of a container, which keeps its size."""
    name = next(name for name in names_on(target) if name.startswith(f"containers/{backup}"))
    content = b"".join(target.read(name))
    target.delete(name)
    put(target, name, content[:-1] + bytes([content[-1] ^ 1]))


def test_what_a_lock_keeps_is_left_and_told_and_goes_once_the_lock_has_ended(
    template: Stocked, tmp_path: Path
) -> None:
    locked = Locked(name="eu", region="eu")
    world, old, _ = template.copied(tmp_path, locked)
    prune(world.services())
    locked.locked = True
    services = world.services()
    run = done(prune(services))
    assert results(services, run)["eu"].left == {
        old: UndeletedBackup(why="it is locked", until="2027-01-01T00:00:00Z")
    }
    assert opens(world, locked, old)
    assert about(world.targets["us"], old) == []
    locked.locked = False
    done(prune(world.services()))
    assert about(locked, old) == []


def test_a_target_that_was_away_is_pruned_when_it_is_back(template: Stocked, tmp_path: Path) -> None:
    eu = Leaving(name="eu", region="eu")
    world, old, _ = template.copied(tmp_path, eu)
    eu.away = True
    for _ in range(2):
        ended = prune(world.services())
        assert (ended.state, "eu was not looked at" in (ended.error or "")) == (RunState.DEGRADED, True)
    assert about(world.targets["us"], old) == []
    eu.away = False
    assert opens(world, eu, old)
    done(prune(world.services()))
    assert about(eu, old) == []


def test_a_target_that_was_away_when_a_backup_was_undeleted_hears_of_it_from_the_next_prune(
    template: Stocked, tmp_path: Path
) -> None:
    """Else its own mark would say for ever that what is missing there is missing on purpose."""
    eu = Leaving(name="eu", region="eu")
    world, old, _ = template.copied(tmp_path, eu)
    prune(world.services())
    eu.away = True
    assert list(undelete(world.services(), old, reason="an audit", by="ops@host").failed) == ["eu"]
    eu.away = False
    trusted = world.services().signer_fingerprints
    assert deleted_from(eu, old, trusted=trusted, now=time.time())
    done(prune(world.services()))
    assert not deleted_from(eu, old, trusted=trusted, now=time.time())
    assert opens(world, eu, old)


def test_a_medium_in_its_safe_makes_no_prune_fall_short(stocked: Stocked) -> None:
    world, old, _ = stocked
    medium = Leaving(name="medium", region="safe")
    medium.away = True
    with_medium = replace(world, targets={**world.targets, "medium": medium})
    services = with_medium.services()
    policies = dict(services.retention())
    spec = structs.replace(world.spec, policy="emergency", targets=(pin_target("medium", medium),))
    policies["emergency"] = ConfiguredPolicy(spec=spec, keep=ONE, offline=True, grace_days=0)
    for _ in range(2):
        done(prune(with_medium.services(retention=lambda: policies)))
    assert about(world.targets["us"], old) == []


def test_what_a_dead_run_left_is_marked_and_deleted_as_a_backup_is(stocked: Stocked) -> None:
    world, old, new = stocked
    dead, eu = "20200101T000000000000Z-00000000", world.targets["eu"]
    young = new.partition("-")[0] + "-ffffffff"
    for backup in (dead, young):
        put(eu, f"containers/{backup}/{'ab' * 32}", b"CANARY-left")
    run = done(prune(world.services()))
    assert [one["backup"] for one in run.facts["mark"]] == [old, dead]
    done(prune(world.services()))
    assert about(eu, dead), "an orphan has a day of grace at least"
    pass_time(eu, dead, world)
    done(prune(world.services()))
    assert about(eu, dead) == []
    assert about(eu, young)
    assert opens(world, eu, new)


def test_the_manifest_goes_first_and_the_tombstone_comes_last(template: Stocked, tmp_path: Path) -> None:
    eu = Telling(name="eu", region="eu")
    world, old, _ = template.copied(tmp_path, eu)
    prune(world.services())
    eu.told.clear()
    prune(world.services())
    assert eu.told[0] == f"- manifests/{old}.json"
    assert eu.told[-1] == f"+ deletion/{old}/00000002.json"
    assert len(eu.told) > 2


def test_what_a_prune_left_that_was_killed_on_the_last_target_is_deleted_by_the_next(
    stocked: Stocked,
) -> None:
    """No manifest tells of it: the mark says that it is to go, the containers say with which envelopes."""
    world, old, _ = stocked
    prune(world.services())
    eu = world.targets["eu"]
    manifest = ManifestListing(eu).read(old, trusted=None).manifest
    [key] = {entry.wrapping_key for entry in manifest.containers}
    put(eu, f"keys/{key}/00000002", b"an envelope of a later generation")
    for target in world.targets.values():
        target.delete(f"manifests/{old}.json")
    done(prune(world.services()))
    assert state_of(world, old) == "deleted"
    assert not [name for name in names_on(eu) if (old in name and "deletion/" not in name) or key in name]


def test_leftovers_of_which_another_target_shows_a_manifest_are_no_orphan(stocked: Stocked) -> None:
    world, old, _ = stocked
    old = "20200101T000000000000Z-00000000"
    put(world.targets["eu"], f"containers/{old}/{'ab' * 32}", b"CANARY-left")
    put(world.targets["us"], f"manifests/{old}.json", b"what nobody can read")
    run = done(prune(world.services()))
    assert [one["backup"] for one in run.facts["mark"]] == [stocked.old]


def test_a_backup_on_record_whose_manifests_were_stolen_is_no_orphan(stocked: Stocked) -> None:
    """Its containers are what a copy of the manifest brings it back with: a hidden version, or a medium."""
    world, _, new = stocked
    for target in world.targets.values():
        target.delete(f"manifests/{new}.json")
    services, later = world.services(), time.time() + 30 * 86_400
    plan, places = plan_retention(services, now=later), read_deletions(services)
    assert not list(find_orphans(services, plan, take_stock(services), places, now=later))


def test_a_host_whose_clock_runs_ahead_ends_no_grace_where_the_target_has_a_clock(
    template: Stocked, tmp_path: Path
) -> None:
    slow = Clocked(name="eu", region="eu")
    world, old, _ = template.copied(tmp_path, slow)
    prune(world.services())
    slow.behind = 3600.0
    run = prune(world.services())
    assert "its grace lasts until" in (run.error or "")
    assert opens(world, slow, old)
    assert about(world.targets["us"], old) == []


def test_a_host_whose_clock_runs_ahead_ends_no_hold_where_the_target_has_a_clock(
    template: Stocked, tmp_path: Path
) -> None:
    slow = Clocked(name="eu", region="eu")
    world, old, _ = template.copied(tmp_path, slow)
    slow.behind = 7200.0
    until = rfc3339(time.time() - 3600.0)
    holds.hold(world.services(), "backup", old, reason="case 17", by="legal", until=until)
    for target in world.targets.values():
        pass_time(target, old, world)
    run = prune(world.services())
    assert "case 17" in (run.error or "")
    assert opens(world, slow, old)
    assert about(world.targets["us"], old) == []


def test_two_hosts_with_databases_of_their_own_prune_at_once_and_harm_nothing(
    stocked: Stocked, tmp_path: Path
) -> None:
    world, old, new = stocked
    other = with_a_database_of_its_own(world, tmp_path)
    hosts = [world.services(), other.services()]
    for _ in range(2):
        at_work: list[tuple[Services, str, list[Ticket]]] = []
        for services in hosts:
            run, [planning] = submit_prune(services)
            at_work.append((services, run, perform(planning, services)))
        for services, run, tickets in at_work:
            done(drive(run, tickets, services, processes=1))
    for target in world.targets.values():
        assert about(target, old) == []
        assert opens(world, target, new)
    assert [services.store.backup(old) for services in hosts] == [None, None]


def test_what_another_host_deleted_is_forgotten_and_not_repaired(stocked: Stocked, tmp_path: Path) -> None:
    world, old, _ = stocked
    other = with_a_database_of_its_own(world, tmp_path)
    for _ in range(2):
        prune(world.services())
    services = other.services()
    assert services.store.backup(old) is not None
    done(prune(services))
    assert services.store.backup(old) is None


def test_a_prune_brings_a_hold_to_the_targets_that_were_away_when_it_was_placed(
    stocked: Stocked, tmp_path: Path
) -> None:
    away = Leaving(name="us", region="us")
    at = stocked.copied(tmp_path / "held", away)
    away.away = True
    holds.hold(at.world.services(), "backup", at.old, reason="case 4711", by="anna")
    away.away = False
    prune(at.world.services())
    only = at.world.services(targets={"us": away})
    lost = replace(at.world, database=f"sqlite:///{tmp_path / 'lost.db'}").services(targets=only.targets)
    [mark] = holds.read_holds(lost, now=time.time()).standing
    assert mark.subject == at.old
    assert opens(at.world, away, at.old)


def test_what_is_deleted_on_purpose_alarms_nobody_and_is_not_copied_back(
    stocked: Stocked, tmp_path: Path
) -> None:
    """As another host sees it, whose record has a replica there that it once found bad."""
    world, old, new = stocked
    other = with_a_database_of_its_own(world, tmp_path)
    prune(world.services())
    world.targets["us"].delete(next(name for name in about(world.targets["us"], new)))
    prune(world.services())
    assert [name for name, target in world.targets.items() if about(target, old)] == ["us"]

    services = other.services()
    store = services.store
    found = look_over(store, world.targets["eu"], trusted=services.signer_fingerprints, deep=True)
    assert [lost.replica.backup for lost in found] == []
    assert {one.target for one in store.replicas(old)} == {"us", "ap"}

    store.set_replica(Replica(backup=old, target="ap", good=False, verified=None, verified_at=None))
    submitted, tickets = submit_repair(services, backup=old)
    drive(submitted, tickets, services, processes=1)
    assert about(world.targets["ap"], old) == []
    assert old not in degraded(services)


def test_alerts_tell_of_what_was_stolen_and_not_of_what_was_deleted_on_purpose(
    stocked: Stocked, tmp_path: Path
) -> None:
    world, _, new = stocked
    other = with_a_database_of_its_own(world, tmp_path)
    for _ in range(2):
        prune(world.services())
    assert keys(other) == []
    world.targets["eu"].delete(f"manifests/{new}.json")
    assert keys(other) == ["replica.bad:eu"]
