"""What a real record is judged to be, at times that are given."""

from __future__ import annotations

import re
import sqlite3
import time
from dataclasses import replace as replaced
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from strongroom.container.signing import Signer
from strongroom.keys import roles
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Selection
from strongroom.operations.drills.facts import DrillOptions
from strongroom.operations.drills.job import submit_drill
from strongroom.operations.engine import membership
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.findings import Finding, FindingState
from strongroom.operations.engine.services import ConfiguredPolicy, Services
from strongroom.operations.judge import calendar
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    InstallationFacts,
    LateEntry,
    WatchedInstallation,
)
from strongroom.operations.judge.facts import gather
from strongroom.operations.judge.inspection import KeyMetrics, metrics, retained_backups
from strongroom.operations.judge.judgement import judge
from strongroom.operations.keys.health import DAY
from strongroom.operations.restore.scratch import DrillScope
from strongroom.schedule import next_slot
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import Pause, Replica, RunKind, RunStep, StepKind
from strongroom.state.store import RunStore
from tests.operations.archive.test_locks import Bucket
from tests.operations.rotation.rotating import Rotated
from tests.operations.rotation.test_rotate import rotate
from tests.operations.world import POLICY, World, made_up, make_world
from tests.slots import monthly

HOUR = 3600.0
DAILY = "0 3 * * *"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def policies(world: World, **about: object) -> dict[str, ConfiguredPolicy]:
    return {POLICY: ConfiguredPolicy(spec=world.spec, **about)}  # type: ignore[arg-type]


def said(findings: list[Finding]) -> list[tuple[FindingState, str]]:
    return [(one.state, one.code) for one in findings]


def facts(
    services: Services, *, after: float = 0.0, look: bool = False, **about: object
) -> InstallationFacts:
    watched = WatchedInstallation(
        store=lambda: services.store,
        targets=services.targets,
        trusted=services.signer_fingerprints,
        policies=(ConfiguredPolicy(spec=services.pinned(POLICY).spec, **about),),  # type: ignore[arg-type]
    )
    return gather(watched, AlertLimits(), now=time.time() + after, look=look)


def judged(given: InstallationFacts, *kinds: str, limits: AlertLimits = AlertLimits()) -> list[Finding]:  # noqa: B008
    """Return how facts are judged, by kinds or areas."""
    return [one for one in judge(given, limits) if one.kind in kinds or one.check in kinds]


def of_runs(services: Services, *, after: float = 0.0) -> list[Finding]:
    return judged(facts(services, after=after), "run.waiting", "backup.failed", "rotation.failed")


def test_a_run_that_nothing_happens_to_is_stuck_after_an_hour(world: World) -> None:
    services = world.services()
    assert services.store.create(world.spec, first=(RunStep(StepKind.PLAN),)) is not None
    assert said(of_runs(services)) == [(FindingState.GOOD, "")]
    assert said(of_runs(services, after=2 * HOUR)) == [(FindingState.WRONG, "RunDegraded")]


def test_a_step_that_is_worked_on_may_take_longer_and_not_for_ever(world: World) -> None:
    services = world.services()
    run = services.store.create(world.spec, first=(RunStep(StepKind.PLAN),))
    assert run is not None
    [ticket] = services.store.take_ready(run.id, window=1)
    assert services.store.claim(ticket, owner="there:1:control") is not None
    assert said(of_runs(services, after=2 * HOUR)) == [(FindingState.GOOD, "")]
    assert said(of_runs(services, after=5 * HOUR)) == [(FindingState.WRONG, "RunDegraded")]


def test_a_run_that_waits_for_whoever_holds_the_keys_is_no_alarm(world: World) -> None:
    services = world.services()
    spec = world.with_spec(kind=RunKind.ROTATE).spec
    assert services.store.create(spec, first=(RunStep(StepKind.REWRAP, 0),)) is not None
    assert sorted(said(of_runs(services, after=9 * HOUR))) == [
        (FindingState.GOOD, ""),
        (FindingState.REMARK, ""),
    ]


def test_a_failed_backup_is_told_until_the_next_is_good(world: World) -> None:
    broken = replaced(world, source=MemoryStore([], name="vault"))
    broken.source.list = lambda **_: (_ for _ in ()).throw(OSError())  # type: ignore[method-assign]
    services = world.services()
    failing = world.services(sources={"vault": broken.source})
    world.back_up(failing)
    assert said(of_runs(services)) == [(FindingState.WRONG, "RunFailed"), (FindingState.GOOD, "")]
    world.back_up()
    assert said(of_runs(services)) == [(FindingState.GOOD, "")]


def test_a_policy_that_never_selected_anything_is_warned_of_until_it_had_a_backup(world: World) -> None:
    def looked() -> set[str]:
        found = judge(facts(world.services(), after=2 * DAY, schedule=DAILY), AlertLimits())
        return {one.kind for one in found if one.is_alert}

    nothing = world.with_spec(selection=Selection(tags={"parity": "none"}))
    nothing.back_up()
    assert looked() == {"policy.idle"}
    world.back_up()
    nothing.back_up()
    assert looked() >= {"backup.failed", "backup.overdue"}


def test_a_backup_of_a_clock_that_was_ahead_is_warned_of_and_hides_no_failure(world: World) -> None:
    services = world.services()
    world.back_up()
    with services.store._database.writing() as conn:
        conn.execute(text(f"UPDATE runs SET created_at = created_at + {900 * DAY}"))
        conn.execute(text("UPDATE catalog SET created_at = '2036-01-01T00:00:00Z'"))
    world.back_up(world.services(sources={}))
    assert said(of_runs(services)) == [(FindingState.WRONG, "RunFailed"), (FindingState.GOOD, "")]
    found = judged(facts(services, schedule=DAILY), "backup.ahead")
    assert said(found) == [(FindingState.WARNING, "WarningsRaised")]
    world.back_up()
    assert said(judged(facts(services, schedule=DAILY), "backup.overdue")) == [(FindingState.GOOD, "")]


def test_a_slot_that_passed_without_a_verified_backup_is_an_alarm_after_the_threshold(world: World) -> None:
    services = world.services()

    def fresh(after: float) -> list[tuple[FindingState, str]]:
        return said(judged(facts(services, after=after, schedule=DAILY), "backup.overdue"))

    assert fresh(0) == [(FindingState.WRONG, "BackupOverdue")]
    [first] = judged(facts(services, schedule=DAILY), "backup.overdue")
    assert first.what.endswith("is due and has no verified backup"), "no date before the installation existed"
    world.back_up()
    assert fresh(0) == [(FindingState.GOOD, "")]
    slot = next_slot(DAILY, time.time())
    assert slot is not None
    assert fresh(slot - time.time() + 60) == [(FindingState.REMARK, "")]
    assert fresh(3 * DAY) == [(FindingState.WRONG, "BackupOverdue")]


def test_an_entry_that_was_not_begun_is_late_and_an_alarm_after_the_threshold(world: World) -> None:
    check = Scheduled(
        name="health", kind=RunKind.CHECK, policy="health", schedule=DAILY, options={"check": "health"}
    )
    services = world.services()

    def late(after: float) -> list[LateEntry]:
        return list(calendar.late_entries(services, [check], now=time.time() + after))

    def of_calendar(after: float) -> list[Finding]:
        given = replace(facts(services, after=after), late=tuple(late(after)))
        return judged(given, "schedule.late")

    assert late(DAY) == [], "what came before the installation, nobody missed"
    world.back_up()
    due = next_slot(DAILY, time.time())
    assert due is not None
    [soon] = of_calendar(due - time.time() + HOUR)
    assert (soon.state, soon.subject) == (FindingState.REMARK, "health")
    [overdue] = of_calendar(3 * DAY)
    assert (overdue.state, overdue.code) == (FindingState.WRONG, "BackupOverdue")
    later = time.time() + 2 * DAY
    services.store.pause(Pause(entry="health", reason="the vault moves", by="ann", since=later - DAY))
    assert late(2 * DAY) == [], "a pause is judged as one"


def test_an_entry_whose_medium_is_away_waits_for_it_until_it_was_brought(world: World) -> None:
    services = world.services()
    medium = Scheduled(name="safe", kind=RunKind.BACKUP, policy=POLICY, schedule="0 3 1 * *", offline=True)
    [found] = calendar.overview(services, [medium], now=time.time())
    assert (found.state, found.why) == (
        calendar.EntryState.WAITING,
        f"bring it, then 'strongroom emergency backup {POLICY}'",
    )
    world.back_up()
    [found] = calendar.overview(services, [medium], now=time.time())
    assert found.state is calendar.EntryState.ON


@pytest.mark.parametrize(
    ("objective", "later", "state"),
    [
        (600.0, 0.0, FindingState.GOOD),
        (600.0, 40 * DAY, FindingState.REMARK),
        (1e-9, 0.0, FindingState.WRONG),
    ],
)
def test_the_last_rehearsal_is_held_to_its_objective(
    world: World, objective: float, later: float, state: FindingState
) -> None:
    world.back_up()
    services = world.services()
    run, tickets = submit_drill(services, policy=POLICY, options=DrillOptions(objective_seconds=objective))
    drive(run, tickets, services, processes=1)
    [one] = judged(facts(services, after=later), "drills")
    assert one.state is state
    assert re.search(r"[0-9] m?s of ", one.what)


def test_a_failed_rehearsal_is_an_alarm(world: World) -> None:
    world.back_up()
    services = world.services(identities=lambda: (KeyFileIdentity(b"\1" * 32),))
    run, tickets = submit_drill(services, policy=POLICY, options=DrillOptions(objective_seconds=60))
    drive(run, tickets, services, processes=1)
    [failed] = judged(facts(services), "drills")
    assert said([failed]) == [(FindingState.WRONG, "RunFailed")]
    assert run in failed.what
    passed, tickets = submit_drill(
        world.services(), policy=POLICY, options=DrillOptions(drill=DrillScope.SINGLE, objective_seconds=60)
    )
    drive(passed, tickets, world.services(), processes=1)
    found = sorted(said(judged(facts(services), "drills")))
    assert found == [(FindingState.GOOD, ""), (FindingState.WRONG, "RunFailed")], (
        "another kind of drill makes none good"
    )


def test_a_medium_that_is_overdue_is_an_alarm_and_one_that_is_waited_for_a_warning(world: World) -> None:
    world.back_up()
    services, schedule = world.services(), monthly()
    due = next_slot(schedule, time.time())
    assert due is not None
    states = [
        said(judged(facts(services, after=after, schedule=schedule, offline=True), "emergency"))
        for after in (0.0, due + DAY - time.time(), due + 8 * DAY - time.time())
    ]
    assert states[1:] == [[(FindingState.WARNING, "WarningsRaised")], [(FindingState.WRONG, "BackupOverdue")]]
    assert (FindingState.GOOD, "") in states[0]


def test_beat_that_stopped_is_an_alarm(world: World) -> None:
    services = world.services()
    assert said(judged(facts(services), "beat.silent")) == [(FindingState.REMARK, "")]
    services.store.heartbeat("beat")
    assert said(judged(facts(services), "beat.silent")) == [(FindingState.GOOD, "")]
    with sqlite3.connect(world.folder / "state.db") as connection:
        connection.execute("UPDATE heartbeats SET at = at - 3600")
    connection.close()
    assert said(judged(facts(services), "beat.silent")) == [(FindingState.WARNING, "BackupOverdue")]


def test_a_trial_of_keys_that_could_not_read_a_backup_is_an_alarm(world: World) -> None:
    services = world.services()
    services.store.event("key.checked", bad=["b1"], unread=["b1"], keys=[])
    assert said(judged(facts(services), "key.unchecked")) == [(FindingState.WRONG, "KeyUnproven")]
    services.store.event("key.checked", bad=[], unread=[], keys=[])
    assert said(judged(facts(services), "key.unchecked")) == [(FindingState.GOOD, "")]


def test_the_newest_backup_is_held_to_what_it_is_now(world: World) -> None:
    backup = world.back_up().id
    services = world.services()

    def found() -> dict[str, list[FindingState]]:
        judgement = judge(facts(services, look=True), AlertLimits())
        areas = ("backups", "replicas")
        return {area: sorted({one.state for one in judgement if one.check == area}) for area in areas}

    assert found() == {"backups": [FindingState.GOOD], "replicas": [FindingState.GOOD]}
    services.store.set_replica(
        Replica(backup=backup, target="us", good=False, verified=None, verified_at=None)
    )
    assert FindingState.WRONG in found()["replicas"]


def test_a_newest_backup_that_could_not_be_locked_is_told(tmp_path: Path) -> None:
    plain = make_world(tmp_path)
    world = plain.with_targets({**plain.targets, "us": Bucket(refuses="manifests")})
    world.back_up()
    [found] = judged(facts(world.services()), "backup.degraded")
    assert found.state is FindingState.WARNING
    assert "not locked on us" in found.what


def test_a_backup_that_came_out_smaller_is_told_as_degraded(world: World) -> None:
    world.back_up()
    emptier = replaced(world, source=MemoryStore(made_up(5), name="vault"))
    emptier.back_up()
    assert said(judged(facts(emptier.services()), "backup.degraded")) == [
        (FindingState.WARNING, "WarningsRaised")
    ]


def metrics_of(world: World, *, after: float = 0.0) -> KeyMetrics:
    services = world.services()
    given = facts(services, after=after)
    return metrics(services, given, retained_backups(services), policies(world), days=1)


def test_the_metrics_count_the_window_alone(world: World) -> None:
    world.back_up()
    now = metrics_of(world)
    assert (now.backups, now.success_rate, now.verified_rate, now.oldest_key_days) == (1, 1.0, 1.0, 0)
    later = metrics_of(world, after=2 * DAY)
    assert (later.backups, later.success_rate, later.oldest_key_days) == (0, None, 2)


def test_a_key_is_old_in_the_metrics_when_it_is_for_the_alerts(world: World) -> None:
    world.back_up()
    later = facts(world.services(), after=2 * DAY)
    of_keys = {
        days: [
            one.state for one in judged(later, "key.aging", limits=AlertLimits(key_age=days * DAY, notice=0))
        ]
        for days in (1, 3)
    }
    assert of_keys == {1: [FindingState.WRONG], 3: [FindingState.GOOD]}
    shown = dict(metrics_of(world, after=2 * DAY).pairs(key_age=DAY))
    assert shown["Oldest key in use"] == "2 days; rotated after 24 hours"


def test_a_backup_that_failed_and_was_retried_counts_as_two_attempts_of_which_one_succeeded(
    world: World,
) -> None:
    run = world.back_up()
    world.services().store.event("run.retried", run=run.id)
    found = metrics_of(world)
    assert (found.backups, found.backups_made, found.success_rate) == (2, 1, 0.5)


def test_no_attempt_is_counted_where_there_was_nothing_to_back_up_yet(world: World) -> None:
    nothing = world.with_spec(selection=Selection(tags={"parity": "none"}))
    nothing.back_up()
    found = metrics_of(world)
    assert (found.backups, found.success_rate) == (0, None)
    world.back_up()
    nothing.back_up()  # by now that is a loss
    found = metrics_of(world)
    assert (found.backups, found.backups_made, found.success_rate) == (2, 1, 0.5)


def test_a_rotation_that_failed_is_told_until_one_succeeds(tmp_path: Path) -> None:
    at = Rotated(tmp_path)
    at.back_up()
    rotate(at.services(at.new))  # which does not open what there is
    services = at.services(at.old, at.new)
    assert (FindingState.WRONG, "RunFailed") in said(of_runs(services))
    rotate(services)
    assert {one.state for one in of_runs(services)} == {FindingState.GOOD}


def test_several_hosts_without_a_stage_are_told_of_by_those_of_the_host_list_that_use_one(
    world: World,
) -> None:
    store, state_dir = RunStore(world.database), world.folder / "state"
    folder = state_dir / "keys" / "roles"
    membership.begin(folder, store, name="ada", wanted=["control"], installation_key=None)
    watched = WatchedInstallation(
        store=lambda: store,
        targets={},
        trusted=frozenset(),
        policies=(),
        state_dir=state_dir,
        unshared=("p",),
    )

    def told(*, after: float = 0.0) -> list[str]:
        found = gather(watched, AlertLimits(), now=time.time() + after, look=False)
        return [one.what for one in judged(found, "stage.unshared") if one.is_alert]

    store.report_process("ada", "control", version="1")
    store.report_process("ada", "seal", version="1")
    assert told() == []
    store.report_process("5c7a1b", "seal", version="1")  # a container that shares a host's folders
    assert told() == []
    public = Signer.generate().public
    roles.certify_key(folder, "seal", public, host="bob")
    for role in ("verify", "metrics", "watch"):
        store.report_process("bob", role, version="1")
    assert told() == []
    store.report_process("bob", "seal", version="1")
    [what] = told()
    assert "2 hosts" in what
    assert "ada, bob" in what
    for age, still in ((HOUR, True), (24 * HOUR, False)):
        with store._database.writing() as conn:
            conn.execute(
                text("UPDATE processes SET heard_at = heard_at - :age WHERE host = 'bob'"), {"age": age}
            )
        assert bool(told()) is still
