"""Slots: whether a policy is due, decided once, whoever asks."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from strongroom.errors import ConfigError, TargetError, UsageError
from strongroom.operations.backup import job as backup_job
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.medium import remind_all
from strongroom.operations.backup.repair import degraded
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Pinned
from strongroom.operations.engine.steps import perform
from strongroom.operations.engine.submit import open_due, run_now
from strongroom.operations.errors import NothingToDo
from strongroom.operations.judge.calendar import overview
from strongroom.operations.rotation.job import remind, results
from strongroom.operations.rotation.secret_plan import RotateSecretsOptions
from strongroom.operations.rotation.secrets_job import submit_secrets
from strongroom.schedule import last_slot
from strongroom.state.records import Pause, RunKind, RunState, StepKind
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import POLICY, World, make_world

DAY = 86_400.0
NOON = 1_767_268_800.0
"""2026-01-01T12:00:00Z."""

DAILY = [Scheduled(name=POLICY, kind=RunKind.BACKUP, policy=POLICY, schedule="0 2 * * *")]
REPAIR = [Scheduled(name="repair", kind=RunKind.REPAIR, schedule="17 * * * *")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def runs(world: World) -> int:
    return len(world.services().store.runs())


def test_the_newest_slot_is_the_last_time_that_the_expression_names() -> None:
    assert last_slot("0 2 * * *", NOON) == NOON - 10 * 3600
    assert last_slot("0 12 * * *", NOON) == NOON
    assert last_slot("1 12 * * *", NOON) == NOON - DAY + 60


def test_a_slot_makes_one_run_however_often_and_by_whomever_it_is_opened(world: World) -> None:
    assert len(open_due(world.services(), DAILY, now=NOON)) == 1
    assert open_due(world.services(), DAILY, now=NOON) == []
    assert open_due(world.services(), DAILY, now=NOON + 60) == []
    assert runs(world) == 1


def test_the_next_day_is_another_slot(world: World) -> None:
    open_due(world.services(), DAILY, now=NOON)
    assert len(open_due(world.services(), DAILY, now=NOON + DAY)) == 1


MONTHLY = [msgspec.structs.replace(DAILY[0], schedule="0 2 1 * *")]


class Refusing(MemoryTarget):
    """A region of which the credential is wrong."""

    def put(self, *_: object, **__: object) -> NoReturn:
        raise TargetError("refused")


def _fail(world: World, now: float) -> None:
    """Run what is due, where no target takes anything."""
    targets = {name: Refusing(name=name, region=name) for name in world.targets}
    services = world.services(targets=targets)
    tickets = open_due(services, MONTHLY, now=now)
    assert drive(tickets[0].run, tickets, services, processes=1).state is RunState.FAILED


def test_a_first_backup_that_failed_is_tried_again_within_the_hour_and_not_in_a_month(world: World) -> None:
    _fail(world, NOON)  # ten hours late
    _fail(world, NOON)
    services = world.services()
    assert open_due(services, MONTHLY, now=NOON) == []
    [planned] = overview(services, MONTHLY, now=NOON)
    assert (planned.next_due or 0.0) - NOON <= 3600.0
    tickets = open_due(services, MONTHLY, now=NOON + 3600)
    assert drive(tickets[0].run, tickets, services, processes=1).state is RunState.DONE
    assert open_due(services, MONTHLY, now=NOON + 7200) == [], "it has a backup now"
    [planned] = overview(services, MONTHLY, now=NOON + 7200)
    assert (planned.next_due or 0.0) - NOON > 20 * DAY
    _fail(world, NOON + 31 * DAY)
    assert open_due(services, MONTHLY, now=NOON + 31 * DAY + 7200) == [], "that was not the first"


def test_a_first_backup_that_goes_on_failing_is_tried_once_a_day(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_job, "A_DAY_OF_TRIES", 2)
    _fail(world, NOON)
    _fail(world, NOON + 3600)
    assert open_due(world.services(), MONTHLY, now=NOON + 7200) == []
    assert len(open_due(world.services(), MONTHLY, now=NOON + DAY)) == 1


def test_slots_that_were_slept_through_run_once(world: World) -> None:
    open_due(world.services(), DAILY, now=NOON)
    open_due(world.services(), DAILY, now=NOON + 9 * DAY)
    assert runs(world) == 2


def test_a_clock_that_went_back_opens_nothing_again(world: World) -> None:
    open_due(world.services(), DAILY, now=NOON)
    assert open_due(world.services(), DAILY, now=NOON - 5 * DAY) == []
    assert runs(world) == 1


@pytest.mark.parametrize("wrong_by", [32 * DAY, -32 * DAY])
def test_slots_go_by_the_clock_of_the_database_whatever_that_of_a_host_says(
    world: World, monkeypatch: pytest.MonkeyPatch, wrong_by: float
) -> None:
    due, wrong = last_slot("0 * * * *", time.time()), time.time() + wrong_by
    hourly = [msgspec.structs.replace(DAILY[0], schedule="0 * * * *")]
    monkeypatch.setattr(time, "time", lambda: wrong)
    open_due(world.services(), hourly)
    assert world.services().store.newest_slot(POLICY) in (due, (due or 0.0) + 3600)


def test_a_future_slot_does_not_count(world: World) -> None:
    open_due(world.services(), DAILY, now=NOON)
    assert open_due(world.services(), DAILY, now=NOON + 13 * 3600) == []


def test_a_drill_takes_slots_of_its_own_and_waits_for_a_backup(world: World) -> None:
    drills = [
        Scheduled(
            name="full-drill",
            kind=RunKind.DRILL,
            policy=POLICY,
            schedule="0 3 * * *",
            options={"objective_seconds": 60},
        )
    ]
    assert open_due(world.services(), drills, now=time.time()) == []
    world.back_up()
    assert open_due(world.services(), drills, now=NOON) == []  # before its first backup
    later = time.time() + DAY
    assert [ticket.step.kind for ticket in open_due(world.services(), drills, now=later)] == [StepKind.PLAN]
    assert open_due(world.services(), drills, now=later) == []


def _lose_a_replica(world: World) -> str:
    backup = world.back_up().id
    for info in list(world.targets["us"].list()):
        world.targets["us"].delete(info.name)
    store = world.services().store
    [replica] = [found for found in store.replicas(backup) if found.target == "us"]
    store.set_replica(msgspec.structs.replace(replica, good=False))
    return backup


def test_a_bad_replica_is_repaired_within_the_next_slot_and_once(world: World) -> None:
    backup = _lose_a_replica(world)
    services = world.services()
    tickets = open_due(services, REPAIR, now=NOON)
    assert open_due(services, REPAIR, now=NOON + 60) == []
    assert open_due(services, REPAIR, now=NOON + 3600) == [], "one is under way"
    assert drive(tickets[0].run, tickets, services, processes=1).state is RunState.DONE
    assert all(replica.good for replica in services.store.replicas(backup))
    assert open_due(services, REPAIR, now=NOON + 7200) == [], "nothing is degraded now"


def test_a_degraded_backup_is_not_forgotten_among_those_that_came_later(world: World) -> None:
    backup = _lose_a_replica(world)
    services = world.services()
    entry = services.store.backup(backup)
    assert entry is not None
    for number in range(1_001):
        later = msgspec.structs.replace(entry, backup=f"later-{number:04}", created_at="2030-01-01T00:00:00Z")
        services.store.put_backup(later, [])
    assert degraded(services) == [backup]
    assert len(open_due(services, REPAIR, now=NOON)) == 1


class Dead(MemoryTarget):
    """A region that takes nothing, and asks to be left alone."""

    def put(self, *_: object, **__: object) -> NoReturn:
        raise TargetUnavailable("target 'us' is left alone", retry_after=60.0)


def test_a_backup_that_is_still_being_verified_is_not_repaired_yet(tmp_path: Path) -> None:
    world = make_world(tmp_path, pieces=1)
    services = world.services(targets={**world.targets, "us": Dead(name="us", region="us")})
    run, tickets = submit_backup(services, policy=POLICY)
    while not services.store.backups():
        tickets += perform(tickets.pop(0), services)

    assert degraded(services) == [run]
    assert open_due(services, REPAIR, now=NOON) == []


def test_a_backup_of_a_policy_that_is_gone_is_left_alone(world: World) -> None:
    _lose_a_replica(world)

    def gone(policy: str) -> Pinned:
        raise ConfigError(f"there is no policy '{policy}'")

    assert open_due(world.services(pinned=gone), REPAIR, now=NOON) == []


# -- media that are brought, keys that are rotated ---------------------------------


def test_the_slot_of_an_offline_policy_waits_for_its_medium_and_people_are_reminded_once_a_day(
    world: World,
) -> None:
    services = world.services()
    entry = msgspec.structs.replace(DAILY[0], offline=True)
    assert open_due(services, [entry], now=NOON) == []
    nobody = msgspec.structs.replace(entry, name="emergency", policy="", needs="no policy is offline")
    assert remind_all(services, [nobody, entry]) == [POLICY]
    assert remind_all(services, [entry]) == []
    world.back_up()
    assert [event.kind for event in services.store.events() if "emergency" in event.kind] == [
        "emergency.waiting"
    ]


YEARLY = [
    Scheduled(
        name="rotation",
        kind=RunKind.ROTATE,
        schedule="0 4 1 1 *",
        options={"policies": (POLICY,), "rate": 5.0},
    )
]


def test_a_yearly_rotation_renews_what_there_was_at_its_time_once(world: World) -> None:
    services = world.services(signer_fingerprints=trusting(world))
    assert open_due(services, YEARLY) == []  # nothing there yet
    made = world.back_up().created_at
    assert open_due(services, YEARLY, now=made) == []  # nothing that is older than the slot
    later = made + 366 * DAY
    tickets = open_due(services, YEARLY, now=later)
    assert open_due(services, YEARLY, now=later) == []  # it is going on
    done = drive(tickets[0].run, tickets, services, processes=1)
    assert (done.state, done.error) == (RunState.DONE, None)
    assert done.spec.options["rate"] == 5.0
    [result] = results(services.store, done.id)
    assert [key["generation"] for key in result["keys"]] == [2]
    assert open_due(services, YEARLY, now=later) == []
    assert len(open_due(services, YEARLY, now=later + 366 * DAY)) == 1


def test_a_rotation_that_waits_for_its_workers_is_told_once_a_day(world: World) -> None:
    services = world.services()
    made = world.back_up().created_at
    open_due(services, YEARLY, now=made + 366 * DAY)
    for _ in range(2):
        assert open_due(services, YEARLY, now=made + 374 * DAY) == []
        remind(services, now=made + 374 * DAY)
    assert len(services.store.events(kind="rotation.overdue")) == 1


def test_a_rotation_of_secrets_that_waits_for_its_workers_is_told_once_a_day(world: World) -> None:
    services = world.services()
    run, _ = submit_secrets(
        services, source="vault", options=RotateSecretsOptions(names=("app/token",), reason="a test")
    )
    made = services.store.load(run).created_at
    remind(services, now=made + 6 * DAY)
    assert services.store.events(kind="rotation.overdue") == []
    for _ in range(2):
        remind(services, now=made + 8 * DAY)
    assert [event.run for event in services.store.events(kind="rotation.overdue")] == [run]


def trusting(world: World) -> frozenset[str]:
    return frozenset({world.installation.fingerprint})


def test_a_slot_claimed_by_a_clock_that_was_ahead_keeps_nothing_back_and_is_given_back(world: World) -> None:
    now = time.time()
    minutely = [msgspec.structs.replace(DAILY[0], schedule="* * * * *")]
    assert len(open_due(world.services(), minutely, now=now + 2 * DAY)) == 1
    assert len(open_due(world.services(), minutely, now=now)) == 1, "the clock was set right again"
    assert open_due(world.services(), minutely, now=now) == []
    assert len(open_due(world.services(), minutely, now=now + 60)) == 1
    assert len(open_due(world.services(), minutely, now=now + 2 * DAY)) == 1, (
        "that time's own slot is not lost"
    )


# -- pauses, entries that are off, and runs at once -----------------------------------


def test_a_paused_entry_is_not_run_and_its_newest_slot_is_once_the_pause_has_ended(world: World) -> None:
    store = world.services().store
    store.pause(Pause(entry=POLICY, reason="the vault moves", by="ann", since=NOON, until=NOON + 3 * DAY))
    assert open_due(world.services(), DAILY, now=NOON) == []
    assert open_due(world.services(), DAILY, now=NOON + 2 * DAY) == []
    assert len(open_due(world.services(), DAILY, now=NOON + 3 * DAY)) == 1
    assert store.newest_slot(POLICY) == last_slot("0 2 * * *", NOON + 3 * DAY)


def test_a_pause_of_an_entry_holds_for_all_that_has_slots_of_its_own_in_it(world: World) -> None:
    _lose_a_replica(world)
    store = world.services().store
    store.pause(Pause(entry="repair", reason="the region is being moved", by="ann", since=NOON))
    assert open_due(world.services(), REPAIR, now=NOON) == []
    store.resume("repair", reason="moved", by="ann")
    assert len(open_due(world.services(), REPAIR, now=NOON)) == 1


def test_a_pause_holds_for_the_parts_of_an_entry_and_for_no_longer_name(world: World) -> None:
    store = world.services().store
    store.pause(Pause(entry="tests", reason="the vault moves", by="ann", since=NOON))
    parts = [msgspec.structs.replace(DAILY[0], name=name) for name in ("tests integrity", "testsuite")]
    open_due(world.services(), parts, now=NOON)
    assert (store.newest_slot("tests integrity"), store.newest_slot("testsuite")) == (None, NOON - 36_000)


def test_an_entry_that_is_off_is_not_run(world: World) -> None:
    entry = msgspec.structs.replace(DAILY[0], needs="switched off by calendar.x")
    assert open_due(world.services(), [entry], now=NOON) == []
    with pytest.raises(UsageError, match="is off: switched off"):
        run_now(world.services(), [entry])


def test_an_entry_that_cannot_be_run_keeps_no_other_from_its_turn(world: World) -> None:
    told: list[tuple[str, str]] = []
    stranger = msgspec.structs.replace(DAILY[0], name="gone", policy="gone")
    services = world.services()
    pinned = services.pinned

    def without(policy: str) -> Pinned:
        if policy == "gone":
            raise ConfigError("there is no policy 'gone'")
        return pinned(policy)

    tickets = open_due(
        world.services(pinned=without),
        [stranger, *DAILY],
        now=NOON,
        refused=lambda entry, error: told.append((entry.name, type(error).__name__)),
    )
    assert [ticket.step.kind for ticket in tickets] == [StepKind.PLAN]
    assert told == [("gone", "ConfigError")]


def test_a_run_at_once_takes_the_place_of_the_slot_that_is_overdue_and_of_no_later_one(world: World) -> None:
    services = world.services()
    [(run, tickets)] = run_now(services, DAILY)
    assert drive(run, tickets, services, processes=1).state is RunState.DONE
    now = time.time()
    assert open_due(services, DAILY, now=now) == []
    assert len(open_due(services, DAILY, now=now + DAY)) == 1


def test_a_run_at_once_of_what_has_nothing_to_do_says_so(world: World) -> None:
    with pytest.raises(NothingToDo, match="'repair' has nothing to do now"):
        run_now(world.services(), REPAIR)


# -- where the clock is put forward or back --------------------------------------------


@pytest.mark.parametrize("evening", ["2025-03-29T18:00+01:00", "2025-10-25T18:00+02:00"])
def test_a_night_in_which_the_clock_changes_has_one_slot_however_often_it_is_asked(
    world: World, evening: str
) -> None:
    begin = datetime.fromisoformat(evening).timestamp()
    services = world.services()
    nightly = msgspec.structs.replace(DAILY[0], schedule="30 2 * * *", time_zone="Europe/Berlin")
    open_due(services, [nightly], now=begin)
    opened = [open_due(services, [nightly], now=begin + minutes * 60) for minutes in range(0, 24 * 60, 10)]
    assert [len(tickets) for tickets in opened if tickets] == [1]
