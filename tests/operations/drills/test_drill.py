"""Drills: what is rehearsed, from where, what is compared, and what is left."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.container.marks import QUARANTINE, QuarantineMark
from strongroom.errors import ConfigError, TargetError, UsageError
from strongroom.model import SecretBytes, SecretVersion
from strongroom.operations.drills.by_record import CutOff
from strongroom.operations.drills.job import JOB, DrillReports, list_reports
from strongroom.operations.drills.report import DRILLS, STEPS, DrillReport, verdict
from strongroom.operations.drills.report import STEP_WORDS as WORDS
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.drive import drive, end
from strongroom.operations.engine.services import ConfiguredPolicy, Services
from strongroom.operations.engine.statements import write_mark
from strongroom.operations.engine.steps import perform
from strongroom.operations.engine.submit import open_due, retry
from strongroom.operations.judge import facts_on_record
from strongroom.operations.judge.fact_records import WatchedDrill, WatchedInstallation
from strongroom.operations.restore.scratch import DrillScope
from strongroom.sources import SecretChange
from strongroom.sources.local import LocalStore
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import RunKind, RunState, Spec, StepKind
from strongroom.state.store import RunStore
from strongroom.targets.memory import MemoryTarget
from strongroom.times import rfc3339
from tests.operations.backup.test_repair_and_drill import damage, first_container
from tests.operations.drills.drilling import drilled, left, submitted
from tests.operations.world import POLICY, World, made_up, make_world, names_on


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, pieces=1)


def listed(world: World) -> DrillReports:
    trusted = frozenset({world.installation.fingerprint})
    return list_reports(list(world.targets.values()), trusted=trusted)


def watching(store: RunStore, *drills: WatchedDrill) -> WatchedInstallation:
    policy = ConfiguredPolicy(spec=Spec(kind=RunKind.BACKUP, policy=POLICY))
    return WatchedInstallation(
        store=lambda: store, targets={}, trusted=frozenset(), policies=(policy,), drills=drills
    )


def only_report(world: World) -> DrillReport:
    [found] = listed(world).reports
    assert found.on == tuple(world.targets)
    return found.report


def change_scratch_value(world: World, run: str, name: str) -> None:
    """Put another value into the store of a drill behind its back."""
    store = LocalStore(world.folder / "drills" / run)
    [secret] = store.read([entry for entry in store.list() if entry.name == name])
    assert secret is not None
    store.delete([name])
    version = SecretVersion(number=1, value=SecretBytes(b"CANARY-other"))
    store.write([SecretChange(secret=replace(secret, versions=(version,)), expected=None)])


# -- what is rehearsed -----------------------------------------------------------


def test_a_full_drill_brings_everything_back_compares_every_value_and_leaves_nothing(world: World) -> None:
    backup = world.back_up().id
    run = drilled(world.services())
    assert (run.state, run.error) == (RunState.DONE, None)
    assert left(world) == []
    report = only_report(world)
    assert (report.outcome, report.drill, report.backup) == ("passed", "full", backup)
    assert (report.secrets, report.expected, report.compared) == (30, 30, 30)
    assert (report.differ, report.missing, report.torn_down, report.objective_met) == (0, 0, True, True)
    assert report.live is not None
    assert (report.live.same, report.live.changed, report.live.missing) == (30, 0, 0)
    assert [step.step for step in report.steps if step.done] == [step.step for step in report.steps]


def test_a_drill_of_one_secret_brings_back_that_secret_and_no_other(world: World) -> None:
    world.back_up()
    run = drilled(world.services(), drill=DrillScope.SINGLE, secret="app/0007")
    report = only_report(world)
    assert (run.state, report.secrets, report.compared) == (RunState.DONE, 1, 1)
    assert b"app/0007" not in listed(world).reports[0].signed


def test_a_drill_of_any_secret_compares_the_one_that_it_brought_back(world: World) -> None:
    world.back_up()
    assert drilled(world.services(), drill=DrillScope.SINGLE).state is RunState.DONE
    assert only_report(world).compared == 1


def test_a_drill_of_a_secret_that_the_backup_lacks_fails(world: World) -> None:
    world.back_up()
    run = drilled(world.services(), drill=DrillScope.SINGLE, secret="app/none")
    assert (run.state, "SecretNotFound" in str(run.error)) == (RunState.FAILED, True)
    report = only_report(world)
    assert report.problems[0].code == "SecretNotFound"
    assert verdict(report).startswith("The drill could not be carried out")
    store = world.services().store
    [found] = facts_on_record.drills(store, watching(store), now=time.time())
    assert found.runs == (), "a mistyped name is no alarm of the backup"


def test_a_drill_of_a_category_brings_back_what_has_its_tag(world: World) -> None:
    world.back_up()
    run = drilled(world.services(), drill=DrillScope.CATEGORY, tags={"parity": "even"})
    assert (run.state, only_report(world).secrets) == (RunState.DONE, 15)


def test_a_drill_that_found_nothing_to_restore_blames_no_backup(world: World) -> None:
    world.back_up()
    assert (
        drilled(world.services(), drill=DrillScope.CATEGORY, tags={"parity": "none"}).state is RunState.FAILED
    )
    report = only_report(world)
    assert report.problems[0].code == "NothingSelected"
    assert verdict(report).startswith("The drill could not be carried out")
    store = world.services().store
    [found] = facts_on_record.drills(store, watching(store), now=time.time())
    assert found.runs == (), "a mistyped tag would be an alarm until a drill of a category passes"


def test_a_failover_drill_reads_nothing_from_the_region_that_is_cut_off(world: World) -> None:
    world.back_up()

    class Asked(MemoryTarget):
        def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterable[bytes]:  # type: ignore[override]
            assert name.startswith("drills/"), name
            return super().read(name, offset=offset, length=length)

        def list(self, prefix: str = "") -> Iterable[object]:  # type: ignore[override]
            assert prefix.startswith("drills/"), prefix
            return super().list(prefix)

    gone = Asked(name="eu", region="eu")
    services = world.services(targets={**world.targets, "eu": gone})
    run = drilled(services, drill=DrillScope.FAILOVER)
    assert (run.state, run.error) == (RunState.DONE, None)
    report = next(one.report for one in listed(world).reports)
    assert report.cut_off == {"eu": "eu"}
    assert set(report.read_from) <= {"us", "ap"}
    assert sum(report.read_from.values()) == 30


def test_a_drill_from_one_target_reads_from_no_other(world: World) -> None:
    world.back_up()
    drilled(world.services(), target="ap")
    assert set(only_report(world).read_from) == {"ap"}


def test_a_failover_drill_of_a_policy_with_one_region_is_refused(world: World) -> None:
    alone = {name: MemoryTarget(name=name, region="eu") for name in ("one", "two")}
    services = world.with_targets(alone).services()
    with pytest.raises(ConfigError, match="nothing is left to recover from"):
        submitted(services, drill=DrillScope.FAILOVER)


def test_a_drill_of_a_policy_without_values_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="backs up no values"):
        submitted(world.with_spec(values=False).services())


def test_drills_within_a_window_reach_old_backups_too(world: World) -> None:
    services = world.services()
    made = {world.back_up(services).id for _ in range(3)}
    taken = set()
    for _ in range(12):  # all of one backup: once in 3^11
        drilled(services, drill=DrillScope.SINGLE, within_days=30.0)
        taken = {found.report.backup for found in listed(world).reports}
        if len(taken) > 1:
            break
    assert len(taken) > 1
    assert taken <= made
    assert {found.report.picked for found in listed(world).reports} == {
        "at random, one of 3 of the last 30 days"
    }


def test_an_emergency_drill_looks_at_each_value_by_itself_too(world: World) -> None:
    world.back_up()
    drilled(world.services(), drill=DrillScope.EMERGENCY)
    assert only_report(world).stand_out is not None


def test_a_drill_rehearses_no_backup_that_a_mark_on_a_target_set_aside(world: World) -> None:
    """The record here knows nothing of the incident: another host of the installation wrote the mark."""
    older = world.back_up().id
    newest = world.back_up().id
    services = world.services()
    mark = QuarantineMark(
        backup_id=newest, number=1, state="quarantined", reason="a key leaked", incident="", by="ops",
        at=rfc3339(time.time()),
    )  # fmt: skip
    write_mark(
        [world.targets["us"]], QUARANTINE, mark,
        signer=services.signers("control"), trusted=services.signer_fingerprints,
    )  # fmt: skip
    run = drilled(services)
    assert (run.state, run.facts["drill-restore"]["backup"]) == (RunState.DONE, older)
    assert only_report(world).backup == older


# -- the objective ---------------------------------------------------------------


def test_a_drill_that_misses_its_objective_says_so(world: World) -> None:
    world.back_up()
    run = drilled(world.services(), objective_seconds=0.0)
    assert run.state is RunState.DEGRADED
    assert "the objective is 0 s" in (run.error or "")
    report = only_report(world)
    assert (report.outcome, report.objective_met) == ("late", False)


class SlowStore(MemoryStore):
    """A source that lets two secrets a second through, as a cloud does."""

    def least_seconds(self, *, secrets: int, versions: int) -> float:
        assert versions == secrets
        return secrets / 2


@pytest.mark.parametrize(("objective", "state"), [(14.0, RunState.DEGRADED), (600.0, RunState.DONE)])
def test_a_drill_is_held_to_the_pace_of_the_source_and_not_of_its_scratch_store(
    world: World, objective: float, state: RunState
) -> None:
    world.back_up()
    slow = SlowStore(name=world.source.name)
    services = world.services(sources={slow.name: slow})
    run = drilled(services, objective_seconds=objective)
    assert run.state is state
    said = "the source itself takes at least 15 s; the objective is 14 s"
    assert (said in (run.error or "")) == (state is RunState.DEGRADED)


# -- what fails --------------------------------------------------------------------


def test_a_drill_whose_backup_is_damaged_everywhere_fails_and_its_report_says_what_to_do(
    world: World,
) -> None:
    world.back_up()
    for target in world.targets.values():
        damage(target, first_container(target))
    run = drilled(world.services())
    assert run.state is RunState.FAILED
    report = only_report(world)
    assert (report.outcome, report.secrets, report.objective_met) == ("failed", None, None)
    assert report.problems[0].means
    assert "Do not count on this backup." in verdict(report)
    assert left(world) == []


def test_a_drill_whose_backup_is_damaged_after_the_restore_fails_and_its_scratch_store_goes(
    world: World,
) -> None:
    world.back_up()
    services = world.services()
    run, tickets = submitted(services)
    while tickets[0].step.kind is not StepKind.DRILL_COMPARE:
        tickets = perform(tickets[0], services)
    assert left(world) == [run]
    for target in world.targets.values():
        damage(target, first_container(target))
    ended = drive(run, tickets, services, processes=1)
    assert ended.state is RunState.FAILED
    assert left(world) == []


@pytest.mark.parametrize("gone", [False, True])
def test_a_value_that_came_back_otherwise_or_not_fails_the_drill_and_is_counted_and_not_named(
    world: World, *, gone: bool
) -> None:
    world.back_up()
    services = world.services()
    run, tickets = submitted(services)
    while tickets[0].step.kind is not StepKind.DRILL_COMPARE:
        tickets = perform(tickets[0], services)
    if gone:
        LocalStore(world.folder / "drills" / run).delete(["app/0003"])
    else:
        change_scratch_value(world, run, "app/0003")
    ended = drive(run, tickets, services, processes=1)
    assert ended.error == "VerificationFailed: 1 of 30 values is not what was backed up"
    report = only_report(world)
    assert (report.differ, report.missing) == ((0, 1) if gone else (1, 0))
    assert (report.outcome, ended.state) == ("failed", RunState.FAILED)
    assert b"app/0003" not in listed(world).reports[0].signed


def test_a_drill_without_any_backup_has_failed_and_is_reported(world: World) -> None:
    run = drilled(world.services())
    assert (run.state, "no backup of policy" in str(run.error)) == (RunState.FAILED, True)
    report = only_report(world)
    assert (report.outcome, report.problems[0].code) == ("failed", "NothingToRehearse")


def test_a_drill_on_a_host_without_a_key_has_failed_and_is_reported(world: World) -> None:
    world.back_up()
    run = drilled(world.services(identities=lambda: ()))
    assert (run.state, "could not be carried out" in str(run.error)) == (RunState.FAILED, True)
    report = only_report(world)
    assert report.problems[0].code == "NothingOpens"
    assert [one.check for one in report.checks if one.code] == ["keys"]
    assert not any(step.began for step in report.steps if step.step == "drill-restore")


def test_a_drill_that_failed_is_not_taken_up_again(world: World) -> None:
    services = world.services()
    failed = drilled(services).id
    with pytest.raises(UsageError, match="stays on record as failed"):
        retry(services, failed)


def test_what_changed_in_the_source_since_is_told_and_fails_no_drill(world: World) -> None:
    world.back_up()
    world.source.delete(["app/0001"])
    [other] = made_up(3, size=9)[2:]
    world.source.delete(["app/0002"])
    world.source.write([SecretChange(secret=other, expected=None)])
    assert drilled(world.services()).state is RunState.DONE
    live = only_report(world).live
    assert live is not None
    assert (live.same, live.changed, live.missing) == (28, 1, 1)


def test_a_source_that_is_away_keeps_no_drill_from_passing(world: World) -> None:
    world.back_up()
    assert drilled(world.services(sources={})).state is RunState.DONE
    report = only_report(world)
    assert (report.live, report.problems) == (None, ())
    assert {step.step: step.problem for step in report.steps}["drill-live"] == "ConfigError"


# -- what is left --------------------------------------------------------------------


def test_the_next_drill_removes_what_a_killed_one_left_and_nothing_else(world: World) -> None:
    world.back_up()
    services = world.services()
    run, tickets = submitted(services)
    while tickets[0].step.kind is not StepKind.DRILL_COMPARE:
        tickets = perform(tickets[0], services)
    other = world.folder / "drills" / "of-another-record"
    other.mkdir()
    drilled(services)
    assert sorted(left(world)) == sorted([run, other.name])  # the first one still goes on
    services.store.cancel(run, error="its host burnt down")
    services.store.take_ready(run, window=1)
    with_report = world.folder / "drills" / run
    kept = list(with_report.iterdir())
    end(run, services, tickets=[])
    assert kept
    assert left(world) == [other.name]


def test_a_cancelled_drill_leaves_nothing_and_its_report_says_so(world: World) -> None:
    world.back_up()
    services = world.services()
    run, tickets = submitted(services)
    while tickets[0].step.kind is not StepKind.DRILL_COMPARE:
        tickets = perform(tickets[0], services)
    services.store.cancel(run, error="enough")
    assert end(run, services).state is RunState.CANCELLED
    assert left(world) == []
    assert only_report(world).outcome == "cancelled"


def test_a_report_of_a_stranger_or_under_another_name_is_told_and_hides_no_other(
    world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    other = make_world(folder)
    for here in (world, other):
        here.back_up()
        drilled(here.services(), drill=DrillScope.SINGLE)
    [own], [theirs] = listed(world).reports, listed(other).reports
    for run, found in (("renamed", own), (theirs.report.run, theirs)):
        sha256 = hashlib.sha256(found.signed).digest()
        size = len(found.signed)
        world.targets["eu"].put(f"drills/{run}.json", [found.signed], size=size, sha256=sha256)
    after = listed(world)
    assert (after.reports, after.away) == ((own,), {})
    assert {name: why.partition(":")[0] for name, why in after.aside.items()} == {
        "drills/renamed.json on eu": "VerificationFailed",
        f"drills/{theirs.report.run}.json on eu": "UntrustedSigner",
    }


def test_names_that_hide_reports_are_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strongroom.operations.drills.job.LISTED", 1)
    world.back_up()
    for _ in range(2):
        drilled(world.services(), drill=DrillScope.SINGLE)
    found = listed(world)
    assert len(found.reports) == 1
    assert found.aside["drills/ on eu"] == "it has 2 names; the first 1 were read"


# -- the calendar ----------------------------------------------------------------------


def entry(**more: object) -> Scheduled:
    options = {"objective_seconds": 60.0, "drill": "full"}
    given = {"name": "full-drill", "kind": RunKind.DRILL, "schedule": "* * * * *", "policy": POLICY}
    return Scheduled(**{**given, "options": options, **more})  # type: ignore[arg-type]


def test_a_slot_of_an_installation_that_has_just_begun_drills_nothing(world: World) -> None:
    assert open_due(world.services(), [entry()]) == []


def test_a_slot_drills_and_fails_where_backups_were_tried_and_there_is_none(world: World) -> None:
    services = world.services(sources={})
    began = services.store.load(world.back_up(services).id).created_at
    tickets = open_due(services, [entry()], now=began + 120)
    run = drive(tickets[0].run, tickets, services, processes=1)
    assert (run.spec.kind, run.state) == (RunKind.DRILL, RunState.FAILED)


def test_the_alerts_know_every_kind_of_drill_of_a_policy_those_of_a_command_too(world: World) -> None:
    world.back_up()
    services = world.services()
    single = drilled(services, drill=DrillScope.SINGLE).id
    watched = watching(services.store, WatchedDrill(drill="full", policy=POLICY, schedule="0 5 1 * *"))
    found = {one.drill: one for one in facts_on_record.drills(services.store, watched, now=time.time())}
    assert {drill: [ran.run for ran in one.runs] for drill, one in found.items()} == {
        "full": [],
        "single": [single],
    }
    assert {drill: one.schedule for drill, one in found.items()} == {"full": "0 5 1 * *", "single": ""}


# -- the report ------------------------------------------------------------------------


def test_a_report_that_no_target_takes_makes_of_a_passed_drill_a_degraded_one(world: World) -> None:
    class NoReports(MemoryTarget):
        def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
            if name.startswith("drills/"):
                raise TargetError("no")
            return super().put(name, chunks, size=size, sha256=sha256)

    world = world.with_targets({name: NoReports(name=name, region=name) for name in world.targets})
    world.back_up()
    run = drilled(world.services())
    assert (run.state, "no target took the report" in str(run.error)) == (RunState.DEGRADED, True)


def test_a_report_that_its_own_targets_do_not_take_is_put_on_another(world: World) -> None:
    world.back_up()
    near = MemoryTarget(name="near", region="near")
    away = {name: CutOff(target) for name, target in world.targets.items()}
    assert drilled(world.services(targets={**away, "near": near})).state is RunState.FAILED
    trusted = frozenset({world.installation.fingerprint})
    [found] = list_reports([near], trusted=trusted).reports
    assert found.report.problems[0].code == "TargetError"


def test_the_report_made_again_is_the_same_bytes(world: World) -> None:
    """A control worker may die between two targets: what it put must not stand in the way of the next."""
    world.back_up()
    services = world.services()
    run, tickets = submitted(services)
    while tickets[0].step.kind is not StepKind.REPORT:
        tickets = perform(tickets[0], services)
    [report] = tickets
    dying = world.services(targets={"eu": world.targets["eu"]})
    job_dies(run, dying)
    put = {f"drills/{run}.json", f"drills/{run}.html"}
    assert [put <= set(names_on(target)) for target in world.targets.values()] == [True, False, False]
    drive(run, [report], services, processes=1)
    assert len(listed(world).reports) == 1
    assert only_report(world).outcome == "passed"


def job_dies(run: str, services: Services) -> None:
    """Put the report on one target, as the job does, and go no further."""
    found = services.store.load(run)
    JOB.conclude(found, JOB.outcome(found, services), services)


def test_the_names_of_steps_are_words_in_every_report() -> None:
    assert set(WORDS) == {kind.value for kind in STEPS}
    assert set(DRILLS) == set(DrillScope)
    assert not [word for word in (*WORDS.values(), *DRILLS.values()) if re.search(r"[_\d]", word)]
