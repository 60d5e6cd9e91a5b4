"""Every kind of run on hosts that share a stage and no folder: each step elsewhere, all of it sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace as dataclass_replace
from importlib import import_module
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.model import ApprovalAction, Depth, ObjectInfo, Role
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.drills.facts import DrillOptions
from strongroom.operations.drills.job import submit_drill
from strongroom.operations.engine import approving
from strongroom.operations.engine import stage as stage_module
from strongroom.operations.engine.services import ApprovalRule, StageUsage
from strongroom.operations.engine.stage import (
    Stage,
    pin_stage,
    remove_left,
    rights_on_stage,
    staged_prefix,
)
from strongroom.operations.engine.steps import perform
from strongroom.operations.engine.submit import retry
from strongroom.operations.restore import staged
from strongroom.operations.restore.carried import carried_journals
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions, UndoOptions, facts_of
from strongroom.operations.restore.undo_job import submit_undo
from strongroom.operations.rotation.job import submit_rotation
from strongroom.sources import Destination
from strongroom.sources.local import LocalStore
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import Run, RunState, StepKind, StepState
from strongroom.system.errors import TargetFull
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.memory import MemoryTarget
from tests.live import sshd
from tests.operations.approval.office import PEOPLE, Office, case_of, make_office
from tests.operations.restore.test_restore_run import fill
from tests.operations.restore.test_take_back import Dying, current, in_a_process
from tests.operations.stages.several_hosts import Hosts
from tests.operations.world import POLICY, World, made_up, make_world
from tests.process import ROOT

COUNT = 60
SAMPLE = ROOT / "tests" / "plugins" / "sample"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "LEAST", 5)
    monkeypatch.setattr(staged, "PIECES", 8)
    monkeypatch.setattr(Destination, "written_at_once", 4)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "world", secrets=made_up(COUNT), pieces=3)


@pytest.fixture
def hosts(world: World, tmp_path: Path) -> Hosts:
    return Hosts(world, tmp_path)


def backed_up(hosts: Hosts) -> str:
    run = hosts.carry_out(submit_backup(hosts.any, policy=POLICY))
    assert (run.state, run.error) == (RunState.DONE, None)
    return run.id


def good(hosts: Hosts, run: Run) -> Run:
    assert (run.state, run.error) == (RunState.DONE, None)
    assert hosts.left() == set()
    return run


# -- every kind of run ----------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Callable[[str], Target | None]]:
    """Make a stage of a kind: one that comes with a package of somebody else's, or on a live SFTP server."""
    with ExitStack() as stack:

        def make(kind: str) -> Target | None:
            if kind == "plug-in":
                stack.enter_context(pytest.MonkeyPatch.context()).syspath_prepend(str(SAMPLE))
                drawer = import_module("acme_strongroom.drawer")
                (tmp_path / "drawer.db").touch()
                own = drawer.Drawer(kind="drawer", path=tmp_path / "drawer.db", region="stage")
                made: Target = drawer.make("default", own, None)
                return made
            if kind == "sftp":
                if sshd.PROGRAM is None:
                    pytest.skip("no sshd on the path; 'make services'")
                (tmp_path / "sshd").mkdir()
                return stack.enter_context(sshd.Sshd(tmp_path / "sshd")).target(tmp_path / "served")
            return None

        yield make


@pytest.mark.parametrize("kind", ["memory", "plug-in", pytest.param("sftp", marks=pytest.mark.long)])
def test_every_kind_of_run_goes_over_hosts_that_share_nothing_but_a_stage_of_sealed_bytes(
    world: World, tmp_path: Path, places: Callable[[str], Target | None], kind: str
) -> None:
    there = fill(tmp_path / "there", COUNT)
    before = current(tmp_path / "there")
    hosts = Hosts(world, tmp_path, inner=places(kind), destinations={"there": there})

    backup = backed_up(hosts)
    assert hosts.stage.puts > 6
    good(hosts, hosts.carry_out(submit_verify(hosts.any, backup=backup, depth=Depth.COMPARED)))
    for info in list(world.targets["ap"].list(f"containers/{backup}/")):
        world.targets["ap"].delete(info.name)
    hosts.carry_out(submit_verify(hosts.any, backup=backup, depth=Depth.DIGEST))
    good(hosts, hosts.carry_out(submit_repair(hosts.any, backup=backup)))
    good(hosts, hosts.carry_out(submit_rotation(hosts.any, policy=POLICY)))
    drilled = hosts.carry_out(
        submit_drill(hosts.any, policy=POLICY, options=DrillOptions(objective_seconds=600.0))
    )
    good(hosts, drilled)
    assert drilled.facts["drill-compare"]["compared"] == COUNT

    options = RestoreOptions(destination="there", overwrite=True)
    restored = good(hosts, hosts.carry_out(submit_restore(hosts.any, backup=backup, options=options)))
    assert dict(current(tmp_path / "there").items()) != before
    undone = good(hosts, hosts.carry_out(submit_undo(hosts.any, options=UndoOptions(undoes=restored.id))))
    assert current(tmp_path / "there") == before
    again = good(hosts, hosts.carry_out(submit_undo(hosts.any, options=UndoOptions(undoes=undone.id))))
    assert len(current(tmp_path / "there")) == COUNT
    assert facts_of(again).restore is not None
    assert hosts.stage.wrong == set(), "a role did what rights_on_stage does not grant it"


def test_a_document_that_is_not_sealed_is_sealed_on_the_stage(world: World, tmp_path: Path) -> None:
    hosts = Hosts(world.with_spec(values=False, sealed=False, recipients=()), tmp_path)
    backup = backed_up(hosts)
    (name, *_) = [info.name for info in world.targets["eu"].list(f"containers/{backup}/")]
    assert b"app/0" in b"".join(world.targets["eu"].read(name))  # and the stage has seen nothing of it


@pytest.mark.parametrize("killed", [1, 4, pytest.param(6, marks=pytest.mark.long)])
def test_what_a_host_restored_that_is_gone_is_gone_on_with_and_undone_by_others(
    tmp_path: Path, killed: int
) -> None:
    local = DirectoryTarget(tmp_path / "stage", name="stage", region="local")
    local.prepare()
    world = make_world(tmp_path / "world", secrets=made_up(COUNT), pieces=3).with_stage(local)
    folder = tmp_path / "there"
    fill(folder, COUNT)
    before = current(folder)
    hosts = Hosts(world, tmp_path, destinations={"there": LocalStore(folder)})
    backup = backed_up(hosts)
    options = RestoreOptions(destination="there", overwrite=True)
    submitted = submit_restore(hosts.services[1], backup=backup, options=options)

    def die() -> None:
        dying = Hosts.__new__(Hosts)
        dying.__dict__.update(hosts.__dict__)
        store = Dying(folder, at=killed)
        dying.services = [dataclass_replace(hosts.services[0], destinations={"there": store})]
        dying.carry_out(submitted)

    assert not in_a_process(die)
    others = hosts.without(0)
    restored = good(others, others.carry_out((submitted[0], [])))
    assert len(current(folder)) == COUNT
    undone = good(others, others.carry_out(submit_undo(others.any, options=UndoOptions(undoes=restored.id))))
    assert current(folder) == before
    carried = {name: (journal, machines) for name, journal, machines in carried_journals(others.any)}
    assert carried.keys() == {restored.id, undone.id}
    journal, machines = carried[restored.id]
    assert (journal.undone_by, journal.ended, journal.to) == ((undone.id,), "done", "there")
    assert journal.counts.changed + journal.counts.created == COUNT
    assert machines == ("test",)
    assert carried[undone.id][0].backup == f"undo of {restored.id}"


def test_a_way_back_that_lacks_its_end_undoes_nothing(world: World, tmp_path: Path) -> None:
    there = fill(tmp_path / "there", COUNT)
    hosts = Hosts(world, tmp_path, destinations={"there": there})
    backup = backed_up(hosts)
    options = RestoreOptions(destination="there", overwrite=True)
    restored = hosts.carry_out(submit_restore(hosts.any, backup=backup, options=options))
    after = current(tmp_path / "there")
    kept = sorted(name for name in hosts.stage.names() if name.startswith(f"undo/{restored.id}/"))
    part = kept[0].rpartition("/")[0]
    hosts.stage.inner.delete(max(name for name in kept if name.startswith(part)))

    fresh = Hosts(world, tmp_path / "others", destinations={"there": there}).over(hosts.stage.inner)
    undone = fresh.carry_out(submit_undo(fresh.any, options=UndoOptions(undoes=restored.id)))
    assert undone.state is RunState.FAILED
    assert "another record of piece" in str(undone.error)
    assert current(tmp_path / "there") == after


def test_a_drill_that_one_host_restored_is_compared_by_another_though_the_first_is_gone(hosts: Hosts) -> None:
    backed_up(hosts)
    run, tickets = submit_drill(hosts.any, policy=POLICY, options=DrillOptions(objective_seconds=600.0))
    every = hosts.services

    def restored() -> bool:
        rows = hosts.any.store.rows(run, StepKind.DRILL_RESTORE)
        return any(row.state is StepState.DONE for row in rows)

    hosts.services = every[:1]
    hosts.carry_out((run, tickets), until=restored)
    assert (every[0].state_dir / "drills" / run).is_dir()
    hosts.services = every[1:2]
    drilled = good(hosts, hosts.carry_out((run, [])))
    compared = drilled.facts["drill-compare"]
    assert (compared["compared"], compared["differ"], compared["missing"]) == (COUNT, 0, 0)
    assert not (every[1].state_dir / "drills" / run).exists()


def test_two_policies_with_stages_of_their_own_do_not_meet(hosts: Hosts) -> None:
    other = MemoryTarget(name="other", region="stage")
    first = hosts.world.spec
    second = replace(first, policy="nightly", stage=pin_stage("other", other))
    pins = {
        name: replace(hosts.any.pinned(name), spec=spec)
        for name, spec in ((POLICY, first), ("nightly", second))
    }
    hosts.services = [
        dataclass_replace(each, stages={"default": hosts.stage, "other": other}, pinned=pins.__getitem__)
        for each in hosts.services
    ]
    for policy, used, unused in ((POLICY, hosts.stage.inner, other), ("nightly", other, hosts.stage.inner)):
        run, tickets = submit_backup(hosts.any, policy=policy)
        hosts.carry_out((run, tickets), until=lambda used=used: bool(list(used.list("runs/"))))  # type: ignore[misc]
        assert not list(unused.list("runs/"))
        good(hosts, hosts.carry_out((run, [])))
    assert [info.name.split("/")[1] for info in other.list()] == ["nightly"] * len(list(other.list()))


def test_a_run_whose_names_are_those_of_another_host_s_folder_says_what_it_lacks(world: World) -> None:
    """Two hosts without a stage in common, as when nobody named one: neither makes a wrong backup."""
    here, elsewhere = (
        world.with_stage(MemoryTarget(name="stage", region="local")).services() for _ in range(2)
    )
    run, tickets = submit_backup(here, policy=POLICY)
    (capture, *_) = perform(tickets[0], here)
    perform(capture, elsewhere)
    (row,) = [row for row in here.store.rows(run, StepKind.CAPTURE) if row.error]
    assert "StageDiffers" in str(row.error)
    assert "[stages.default]" in str(row.error)


# -- a stage that lies ------------------------------------------------------------------------------


class Lying(MemoryTarget):
    """A stage that gives other bytes so often, or lists nothing, or lacks what was put there."""

    times = 0
    how = "other bytes"

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        content = b"".join(super().read(name, offset=offset, length=length))
        if self.times and name.startswith("runs/"):
            self.times -= 1
            if self.how == "nothing":
                return super().read("runs/nothing")
            older = next(iter(super().list("runs/"))).name
            other = content[:-1] + bytes([content[-1] ^ 1])
            return iter([other] if self.how == "other bytes" else super().read(older))
        return iter([content])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return iter(()) if self.how == "no listing" else super().list(prefix)


@pytest.mark.parametrize("how", ["other bytes", "an older object", "nothing", "no listing"])
def test_a_stage_that_lies_for_a_while_costs_attempts_and_no_backup(hosts: Hosts, how: str) -> None:
    lying = Lying(name="default", region="stage")
    lying.how, lying.times = how, 0 if how == "no listing" else 3
    over = hosts.over(lying)
    backup = backed_up(over)
    assert lying.times == 0
    verified = over.carry_out(submit_verify(over.any, backup=backup, depth=Depth.COMPARED))
    assert verified.state is RunState.DONE


def test_a_stage_that_always_lies_makes_no_backup(hosts: Hosts) -> None:
    lying = Lying(name="default", region="stage")
    lying.times = 10_000
    over = hosts.over(lying)
    run = over.carry_out(submit_backup(over.any, policy=POLICY))
    assert run.state is RunState.FAILED
    assert "StageDiffers" in str(run.error)
    assert not any(info for target in over.world.targets.values() for info in target.list("manifests/"))
    lying.times = 0
    retry(over.any, run.id)
    assert over.carry_out((run.id, [])).state is RunState.DONE


# -- which stage, while settings change ---------------------------------------------------------------


def test_a_run_keeps_the_stage_that_it_began_with_though_it_is_called_otherwise_by_now(hosts: Hosts) -> None:
    run, tickets = submit_backup(hosts.any, policy=POLICY)
    hosts.carry_out((run, tickets), until=lambda: bool(hosts.left()))
    other = MemoryTarget(name="other", region="stage")
    spec = replace(hosts.world.spec, stage=pin_stage("other", other))
    pinned = replace(hosts.any.pinned(POLICY), spec=spec)
    hosts.services = [
        dataclass_replace(each, stages={"renamed": hosts.stage, "other": other}, pinned=lambda _: pinned)
        for each in hosts.services
    ]
    good(hosts, hosts.carry_out((run, [])))
    assert list(other.list()) == []
    good(hosts, hosts.carry_out(submit_backup(hosts.any, policy=POLICY)))
    assert list(other.list("index/"))


def test_a_run_waits_for_a_stage_that_is_not_configured_any_more(hosts: Hosts) -> None:
    run, tickets = submit_backup(hosts.any, policy=POLICY)
    hosts.carry_out((run, tickets), until=lambda: bool(hosts.left()))
    had = hosts.services
    patient = replace(had[0].limits, patience=600.0, pause=0.01)
    hosts.services = [dataclass_replace(each, stages={}, limits=patient) for each in had]

    def waits() -> bool:
        rows = hosts.services[0].store.rows(run)
        return any("which this host does not have" in (row.error or "") for row in rows)

    hosts.carry_out((run, []), until=waits)
    assert waits()
    hosts.services = had
    good(hosts, hosts.carry_out((run, [])))


# -- an approval counts once, on whatever host ----------------------------------------------------------


def test_what_was_approved_once_is_done_once_though_another_host_and_an_edited_database_ask(
    world: World, tmp_path: Path
) -> None:
    office: Office = make_office(tmp_path / "office", world)
    rule = ApprovalRule(name="two", actions=(ApprovalAction.RESTORE,), k=2, people=PEOPLE)
    production = MemoryStore(name="production")
    hosts = Hosts(
        world,
        tmp_path,
        destinations={"production": production},
        approvals=office.rules(rules=(rule,)),
    )
    backup = backed_up(hosts)
    options = RestoreOptions(destination="production", requester="dave@host")
    run, tickets = submit_restore(hosts.any, backup=backup, options=options)

    def asked() -> bool:
        return any(row.step.kind is StepKind.APPROVE and row.error for row in hosts.any.store.rows(run))

    hosts.carry_out((run, tickets), until=asked)
    office.sign(hosts.any, case_of(hosts.any, run).document, "alice", "bob")
    restored = good(hosts, hosts.carry_out((run, [])))
    assert facts_of(restored).restore is not None
    used = [name for name in hosts.stage.names() if name.startswith("approvals/")]
    assert sorted(name.rpartition("/")[2] for name in used) == ["by", "spent"]

    document = case_of(hosts.any, run).document
    for host in hosts.services:
        host.store.release_lease(f"approval {document.id}", run)
        (host.state_dir / "approvals" / document.id).unlink(missing_ok=True)
        assert not approving.take(host, document, run)
        assert not approving.take(host, document, "another run")
        assert not approving.is_ours(host, document, run)


# -- swept, and bounded ---------------------------------------------------------------------------------


def test_what_killed_processes_left_goes_by_its_age_and_what_is_under_way_stays(hosts: Hosts) -> None:
    host = hosts.services[0]
    stage = Stage(hosts.stage, key=host.work_key)
    ended = backed_up(hosts)
    going, tickets = submit_backup(host, policy=POLICY)
    hosts.carry_out((going, tickets), until=lambda: bool(hosts.left()))
    under_way = hosts.left()
    old, young = "20200101T000000000000Z-0a", "29990101T000000000000Z-0a"
    for run in (ended, old, young):
        stage.seal_as(f"{staged_prefix(run)}names/x", b"late", context=b"")
    for name in ("undo", "approvals"):
        stage.seal_as(f"{name}/{old}/x", b"old", context=b"")
    stage.seal_as(f"index/gone/{old}/head", b"old", context=b"")
    stage.seal_as(f"snapshots/gone/{old}/00000", b"old", context=b"")

    assert remove_left(stage, host, now=host.store.clock()) == 5
    assert f"{staged_prefix(ended)}names/x" in hosts.stage.names()  # it may be about to be put to use
    assert remove_left(stage, host, now=host.store.clock() + 7200) == 1
    left = {name for name in hosts.left() if young not in name}
    assert left == under_way
    good_again = hosts.carry_out((going, []))
    assert good_again.state is RunState.DONE


def test_a_stage_takes_no_more_than_its_bound_and_a_run_that_waits_goes_on(hosts: Hosts) -> None:
    stage = Stage(hosts.stage, key=hosts.any.work_key)
    stage.seal_as("runs/20991231T000000000000Z-00/names/x", b"x" * 4096, context=b"")
    small = replace(hosts.any.limits, stage_bytes=4096, patience=600.0, pause=0.01)
    hosts.services = [dataclass_replace(each, limits=small) for each in hosts.services]
    run, tickets = submit_backup(hosts.any, policy=POLICY)

    def waits() -> bool:
        return any("limits.stage_bytes" in (row.error or "") for row in hosts.services[0].store.rows(run))

    hosts.carry_out((run, tickets), until=waits)
    assert waits()
    hosts.stage.inner.delete("runs/20991231T000000000000Z-00/names/x")
    wide = replace(small, stage_bytes=1 << 20)
    hosts.services = [dataclass_replace(each, limits=wide) for each in hosts.services]
    good(hosts, hosts.carry_out((run, [])))


class Listed(MemoryTarget):
    """A stage of many objects: to list it takes a second."""

    def __init__(self) -> None:
        super().__init__(name="stage", region="local")
        self.now, self.listings = 0.0, 0

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.listings += 1
        self.now += 1.0
        return super().list(prefix)


def test_a_stage_of_many_objects_is_not_listed_for_each_step_but_where_its_bound_is_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, usage = Listed(), dict[str, StageUsage]()
    monkeypatch.setattr(stage_module.time, "monotonic", lambda: place.now)

    def ask(size: int) -> int:
        before = place.listings
        Stage(place, key=bytes(32), most=8_000, usage=usage).require_room(size)
        return place.listings - before

    assert [ask(250) for _ in range(4)] == [1, 0, 0, 0]
    assert ask(1) == 1, "it has used an eighth of the room that it saw"
    place.now += 30.0
    assert [ask(600), ask(100), ask(400)] == [1, 0, 1]
    with pytest.raises(TargetFull):
        ask(8_001)


def test_processes_that_do_not_see_each_other_keep_the_bound_of_a_stage_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, used = Listed(), [dict[str, StageUsage]() for _ in range(8)]
    monkeypatch.setattr(stage_module.time, "monotonic", lambda: place.now)
    stages = [Stage(place, key=bytes(32), most=10_000, usage=usage) for usage in used]
    for number in range(200):
        with suppress(TargetFull):
            stages[number % 8].require_room(100)
            content = number.to_bytes(4) * 25
            place.put(f"runs/x/{number}", [content], size=100, sha256=hashlib.sha256(content).digest())
    assert sum(info.size for info in place.list("runs/")) == 10_000


def test_a_role_that_has_no_business_there_has_no_right() -> None:
    without = {role.value for role in Role if not rights_on_stage(role)}
    assert without == {"beat", "verify", "drill", "submit", "watch", "page"}
