"""What the record tells of runs, slots, drills, keys and media, at times that are given."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Selection
from strongroom.operations.drills.facts import DrillOptions
from strongroom.operations.drills.job import submit_drill
from strongroom.operations.facts.gather import on_record
from strongroom.operations.facts.records import Facts, Limits
from strongroom.operations.facts.watched import ConfiguredPolicy, Watched
from strongroom.operations.findings import Finding, State
from strongroom.operations.health import calendar, catalog
from strongroom.operations.health import runs as record
from strongroom.operations.health.backups import newest_of, retained_backups
from strongroom.operations.key_management.proofs import DAY
from strongroom.operations.recovery_objective import Scope
from strongroom.operations.runs.drive import drive
from strongroom.operations.scheduled import Scheduled
from strongroom.operations.services import Services
from strongroom.schedule import next_slot
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import CatalogEntry, Pause, Replica, RunKind, Step, StepKind
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


def said(findings: list[Finding]) -> list[tuple[State, str]]:
    return [(one.state, one.code) for one in findings]


def facts(services: Services, *, after: float = 0.0, schedule: str | None = None) -> Facts:
    watched = Watched(
        store=lambda: services.store,
        targets=services.targets,
        trusted=services.signer_fingerprints,
        policies=(ConfiguredPolicy(spec=services.pinned(POLICY).spec, schedule=schedule),),
    )
    return on_record(watched, Limits(), services.store, now=time.time() + after)


def of_runs(services: Services, *, after: float = 0.0) -> list[Finding]:
    return list(record.runs(services, facts(services, after=after), cluster=False))


def of_backups(
    services: Services, entries: dict[str, CatalogEntry], named: dict[str, ConfiguredPolicy]
) -> list[Finding]:
    known = catalog.replicas_of(services, list(entries.values()))
    return list(catalog.backups(services, facts(services), known, entries, named))


def test_a_run_that_nothing_happens_to_is_stuck_after_an_hour(world: World) -> None:
    services = world.services()
    assert services.store.create(world.spec, first=(Step(StepKind.PLAN),)) is not None
    assert said(of_runs(services)) == [(State.GOOD, "")]
    assert said(of_runs(services, after=2 * HOUR)) == [(State.WRONG, "RunFailed")]


def test_a_step_that_is_worked_on_may_take_longer_and_not_for_ever(world: World) -> None:
    services = world.services()
    run = services.store.create(world.spec, first=(Step(StepKind.PLAN),))
    assert run is not None
    [ticket] = services.store.take_ready(run.id, window=1)
    assert services.store.claim(ticket, owner="there:1:control") is not None
    assert said(of_runs(services, after=2 * HOUR)) == [(State.GOOD, "")]
    assert said(of_runs(services, after=5 * HOUR)) == [(State.WRONG, "RunFailed")]


def test_a_run_that_waits_for_whoever_holds_the_keys_is_no_alarm(world: World) -> None:
    services = world.services()
    spec = world.with_spec(kind=RunKind.ROTATE).spec
    assert services.store.create(spec, first=(Step(StepKind.REWRAP, 0),)) is not None
    assert said(of_runs(services, after=9 * HOUR)) == [(State.REMARK, "")]


def test_a_failed_backup_is_told_until_the_next_is_good(world: World) -> None:
    broken = replace(world, source=MemoryStore([], name="vault"))
    broken.source.list = lambda **_: (_ for _ in ()).throw(OSError())  # type: ignore[method-assign]
    services = world.services()
    failing = world.services(sources={"vault": broken.source})
    world.back_up(failing)
    assert said(of_runs(services)) == [(State.WRONG, "RunFailed")]
    world.back_up()
    assert said(of_runs(services)) == [(State.GOOD, "")]


def test_a_policy_that_never_selected_anything_is_remarked_on_until_it_had_a_backup(world: World) -> None:
    def looked() -> list[State]:
        services = world.services()
        named, newest = (
            policies(world, schedule=DAILY),
            {one.policy: one for one in retained_backups(services)},
        )
        slots = record.freshness(facts(services, after=2 * DAY, schedule=DAILY), threshold=HOUR)
        return [one.state for one in (*of_runs(services), *slots, *of_backups(services, newest, named))]

    nothing = world.with_spec(selection=Selection(tags={"parity": "none"}))
    nothing.back_up()
    assert looked() == [State.GOOD, State.REMARK]
    world.back_up()
    nothing.back_up()
    assert State.WRONG in looked()


def test_a_backup_of_a_clock_that_was_ahead_is_remarked_on_and_hides_no_failure(world: World) -> None:
    services = world.services()
    world.back_up()
    with services.store._database.writing() as conn:
        conn.execute(text(f"UPDATE runs SET created_at = created_at + {900 * DAY}"))
        conn.execute(text("UPDATE catalog SET created_at = '2036-01-01T00:00:00Z'"))
    world.back_up(world.services(sources={}))
    assert said(of_runs(services)) == [(State.WRONG, "RunFailed")]
    newest = {one.policy: one for one in retained_backups(services)}
    found = of_backups(services, newest, policies(world, schedule=DAILY))
    assert said(found) == [(State.REMARK, "")]
    world.back_up()
    assert said(list(record.freshness(facts(services, schedule=DAILY), threshold=DAY))) == [(State.GOOD, "")]


def test_a_slot_that_passed_without_a_verified_backup_is_an_alarm_after_the_threshold(world: World) -> None:
    services = world.services()

    def fresh(after: float) -> list[tuple[State, str]]:
        found = record.freshness(facts(services, after=after, schedule=DAILY), threshold=DAY)
        return said(list(found))

    assert fresh(0) == [(State.WRONG, "BackupOverdue")]
    [first] = record.freshness(facts(services, schedule=DAILY), threshold=DAY)
    assert "no verified backup was made yet" in first.what, "no date before the installation existed"
    world.back_up()
    assert fresh(0) == [(State.GOOD, "")]
    slot = next_slot(DAILY, time.time())
    assert slot is not None
    assert fresh(slot - time.time() + 60) == [(State.REMARK, "")]
    assert fresh(3 * DAY) == [(State.WRONG, "BackupOverdue")]


def test_an_entry_that_was_not_begun_is_an_alarm_and_one_that_is_paused_a_remark(world: World) -> None:
    drill = Scheduled(
        name="full-drill",
        kind=RunKind.DRILL,
        policy=POLICY,
        schedule=DAILY,
        options={"objective_seconds": 60},
    )
    services = world.services()
    assert list(calendar.findings(services, [drill], now=time.time() + DAY)) == [], "nothing to rehearse with"
    world.back_up()
    later = time.time() + 2 * DAY
    [late] = calendar.findings(services, [drill], now=later)
    assert (late.state, late.code) == (State.WRONG, "BackupOverdue")
    services.store.pause(Pause(entry="full-drill", reason="the vault moves", by="ann", since=later - DAY))
    [paused] = calendar.findings(services, [drill], now=later)
    assert paused.state is State.REMARK
    assert "overdue" in paused.what, "a paused entry that is overdue is said"


def test_an_entry_whose_medium_is_away_waits_for_it_until_it_was_brought(world: World) -> None:
    services = world.services()
    medium = Scheduled(name="safe", kind=RunKind.BACKUP, policy=POLICY, schedule="0 3 1 * *", offline=True)
    [found] = calendar.overview(services, [medium], now=time.time())
    assert (found.state, found.why) == (
        calendar.State.WAITING,
        f"bring it, then 'strongroom emergency-backup {POLICY}'",
    )
    world.back_up()
    [found] = calendar.overview(services, [medium], now=time.time())
    assert found.state is calendar.State.ON


@pytest.mark.parametrize(
    ("objective", "later", "state"),
    [(600.0, 0.0, State.GOOD), (600.0, 40 * DAY, State.REMARK), (1e-9, 0.0, State.WRONG)],
)
def test_the_last_rehearsal_is_held_to_its_objective(
    world: World, objective: float, later: float, state: State
) -> None:
    world.back_up()
    services = world.services()
    run, tickets = submit_drill(services, policy=POLICY, options=DrillOptions(objective_seconds=objective))
    drive(run, tickets, services, processes=1)
    [one] = record.drills(services, facts(services, after=later))
    assert one.state is state
    assert " s of " in one.what


def test_a_failed_rehearsal_is_an_alarm(world: World) -> None:
    world.back_up()
    services = world.services(identities=lambda: (KeyFileIdentity(b"\1" * 32),))
    run, tickets = submit_drill(services, policy=POLICY, options=DrillOptions(objective_seconds=60))
    drive(run, tickets, services, processes=1)
    [failed] = record.drills(services, facts(services))
    assert said([failed]) == [(State.WRONG, "RunFailed")]
    assert failed.to_do == f"See 'strongroom status {run}', put it right, then 'strongroom drill full'."
    passed, tickets = submit_drill(
        world.services(), policy=POLICY, options=DrillOptions(drill=Scope.SINGLE, objective_seconds=60)
    )
    drive(passed, tickets, world.services(), processes=1)
    found = said(list(record.drills(services, facts(services))))
    assert found == [(State.GOOD, ""), (State.WRONG, "RunFailed")], "another kind of drill makes none good"


def test_a_medium_that_is_overdue_is_an_alarm_and_one_that_is_waited_for_is_not(world: World) -> None:
    world.back_up()
    services, schedule = world.services(), monthly()
    offline, due = policies(world, schedule=schedule, offline=True), next_slot(schedule, time.time())
    assert due is not None
    states = [
        said(list(record.emergency(services, offline, now=now)))
        for now in (time.time(), due + DAY, due + 8 * DAY)
    ]
    assert states == [[(State.GOOD, "")], [(State.REMARK, "")], [(State.WRONG, "BackupOverdue")]]


def test_beat_that_stopped_is_an_alarm(world: World) -> None:
    services = world.services()
    assert said(list(record.beat(facts(services)))) == [(State.REMARK, "")]
    services.store.heartbeat("beat")
    assert said(list(record.beat(facts(services)))) == [(State.GOOD, "")]
    with sqlite3.connect(world.folder / "state.db") as connection:
        connection.execute("UPDATE heartbeats SET at = at - 3600")
    connection.close()
    assert said(list(record.beat(facts(services)))) == [(State.WRONG, "BackupOverdue")]


def test_a_trial_of_keys_that_could_not_read_a_backup_is_an_alarm(world: World) -> None:
    services = world.services()
    services.store.event("key.checked", bad=["b1"], unread=["b1"], keys=[])
    assert said(list(record.keys(facts(services)))) == [(State.WRONG, "KeyUnproven")]
    services.store.event("key.checked", bad=[], unread=[], keys=[])
    assert said(list(record.keys(facts(services)))) == [(State.GOOD, "")]


def test_the_newest_backup_is_held_to_what_it_is_now(world: World) -> None:
    backup = world.back_up().id
    services = world.services()

    def found() -> list[tuple[State, str]]:
        entries = {one.policy: one for one in newest_of(retained_backups(services))}
        return said(of_backups(services, entries, policies(world)))

    assert found() == [(State.GOOD, "")]
    services.store.set_replica(
        Replica(backup=backup, target="us", good=False, verified=None, verified_at=None)
    )
    assert found() == [(State.WRONG, "RunDegraded")]
    kept = retained_backups(services)
    replicas = catalog.replicas_of(services, kept)
    assert said(list(catalog.replicas(services, replicas, kept, policies(world)))) == [
        (State.WRONG, "RunDegraded")
    ]


def test_a_newest_backup_that_could_not_be_locked_is_told(tmp_path: Path) -> None:
    plain = make_world(tmp_path)
    world = plain.with_targets({**plain.targets, "us": Bucket(refuses="manifests")})
    world.back_up()
    services = world.services()
    entries = {one.policy: one for one in newest_of(retained_backups(services))}
    found = said(of_backups(services, entries, policies(world)))
    assert found == [(State.WRONG, "RunDegraded")]


def test_a_backup_that_came_out_smaller_stays_remarked_on(world: World) -> None:
    world.back_up()
    emptier = replace(world, source=MemoryStore(made_up(5), name="vault"))
    smaller = emptier.back_up()
    services = emptier.services()
    entry = services.store.backup(smaller.id)
    assert entry is not None
    [one] = of_backups(services, {POLICY: entry}, policies(world))
    assert one.state is State.REMARK
    assert "5 secrets" in one.what


def metrics(world: World, *, after: float = 0.0) -> catalog.Metrics:
    services, kept = world.services(), retained_backups(world.services())
    known = catalog.replicas_of(services, kept)
    return catalog.metrics(services, facts(services, after=after), known, kept, policies(world), days=1)


def test_the_metrics_count_the_window_alone(world: World) -> None:
    world.back_up()
    now = metrics(world)
    assert (now.backups, now.success_rate, now.verified_rate, now.oldest_key_days) == (1, 1.0, 1.0, 0)
    later = metrics(world, after=2 * DAY)
    assert (later.backups, later.success_rate, later.oldest_key_days) == (0, None, 2)


def test_a_key_is_old_in_the_metrics_when_it_is_for_the_alerts(world: World) -> None:
    world.back_up()
    later = metrics(world, after=2 * DAY)
    of_keys = {
        days: next(one for one in catalog.of_metrics(later, key_age=days * DAY) if "oldest key" in one.what)
        for days in (1, 3)
    }
    assert {days: one.state for days, one in of_keys.items()} == {1: "remark", 3: "good"}


def test_a_backup_that_failed_and_was_retried_counts_as_two_attempts_of_which_one_succeeded(
    world: World,
) -> None:
    run = world.back_up()
    world.services().store.event("run.retried", run=run.id)
    found = metrics(world)
    assert (found.backups, found.backups_made, found.success_rate) == (2, 1, 0.5)


def test_a_rotation_that_failed_is_told_until_one_succeeds(tmp_path: Path) -> None:
    at = Rotated(tmp_path)
    at.back_up()
    rotate(at.services(at.new))  # which does not open what there is
    services = at.services(at.old, at.new)
    assert said(of_runs(services)) == [(State.WRONG, "RunFailed")]
    rotate(services)
    assert said(of_runs(services)) == [(State.GOOD, "")]
