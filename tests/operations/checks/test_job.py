"""A check of the calendar is a run: what it finds degrades it, and what keeps it from looking fails it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from strongroom.errors import ConfigError
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine import run_log
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import CheckResult, Services
from strongroom.operations.engine.submit import open_due
from strongroom.operations.keys.health import CHECKED, FAILED, check
from strongroom.operations.keys.usage import pinned_key
from strongroom.state.records import Run, RunKind, RunState
from strongroom.targets.directory import DirectoryTarget
from strongroom.wiring.calendar import CHECKS, checks
from strongroom.wiring.health_areas import check_areas
from tests.config.loading import Place
from tests.operations.world import POLICY, World, make_world

DAY = 86_400.0
HEALTH = Scheduled(name="health", kind=RunKind.CHECK, schedule="30 6 * * *", options={"check": "health"})
KEYS = Scheduled(
    name="key-proof",
    kind=RunKind.CHECK,
    schedule="0 6 1 1,4,7,10 *",
    options={"check": "keys", "again": "0 6 * * *", "needs_backup": True},
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def opened(services: Services, entry: Scheduled, *, days: float = 0.0) -> list[Run]:
    """Open an entry's slots so many days from now, and drive what comes of it to its end."""
    tickets = open_due(services, [entry], now=time.time() + days * DAY)
    return [drive(ticket.run, [ticket], services, processes=1) for ticket in tickets]


def found(checked: CheckResult) -> dict[str, object]:
    return {"health": lambda _services: checked}


def test_a_check_that_finds_nothing_is_done(world: World) -> None:
    [run] = opened(world.services(checks=found(CheckResult())), HEALTH)
    assert (run.state, run.error, run.spec.policy) == (RunState.DONE, None, "health")


def test_a_check_that_finds_something_is_degraded_and_says_what_and_what_to_do(world: World) -> None:
    bad = CheckResult(bad=("disk (TargetFull)", "ledger (LedgerChanged)"), do="Look there.")
    [run] = opened(world.services(checks=found(bad)), HEALTH)
    assert run.state is RunState.DEGRADED
    happened, to_do = run_log.apart(run.error)
    assert happened == "it found 2 things wrong: disk (TargetFull), ledger (LedgerChanged)"
    assert to_do == "Look there."


def test_a_check_that_could_not_look_has_failed(world: World) -> None:
    def refuse(_services: Services) -> CheckResult:
        raise ConfigError("the key file is gone")

    [run] = opened(world.services(checks={"health": refuse}), HEALTH)
    assert run.state is RunState.FAILED
    assert "the key file is gone" in (run.error or "")

    [run] = opened(world.services(), HEALTH, days=1)
    assert run.state is RunState.FAILED, "this process knows no such check"


def test_a_check_waits_until_the_one_before_it_has_ended(world: World) -> None:
    services = world.services(checks=found(CheckResult()))
    tickets = open_due(services, [HEALTH])
    assert open_due(services, [HEALTH], now=time.time() + DAY) == []
    drive(tickets[0].run, tickets, services, processes=1)
    assert len(opened(services, HEALTH, days=1)) == 1


def test_a_check_waits_for_the_first_backup_where_one_is_being_made(world: World) -> None:
    services = world.services(checks=found(CheckResult()))
    run, tickets = submit_backup(services, policy=POLICY)
    assert opened(services, HEALTH) == []
    drive(run, tickets, services, processes=1)
    assert len(opened(services, HEALTH)) == 1


def test_the_keys_are_tried_once_there_is_a_backup_and_then_each_quarter(world: World, place: Place) -> None:
    services = world.services(checks=checks(place.load()))
    assert opened(services, KEYS) == []
    world.back_up()
    assert [run.state for run in opened(services, KEYS)] == [RunState.DONE]
    assert opened(services, KEYS, days=1) == []
    assert len(opened(services, KEYS, days=93)) == 1
    assert len(services.store.events(kind=CHECKED)) == 2


def test_a_key_that_failed_is_tried_again_each_day_until_it_is_proven(world: World, place: Place) -> None:
    world.back_up()
    looking = checks(place.load())
    services = world.services(identities=lambda: (KeyFileIdentity(b"\1" * 32),), checks=looking)
    services.store.event(FAILED, key=pinned_key(world.spec.recipients[0]), why="WrongKey: test", backup="b")
    [run] = opened(services, KEYS)
    assert run.state is RunState.DEGRADED
    assert opened(services, KEYS) == [], "it was said today"
    assert [run.state for run in opened(services, KEYS, days=1.1)] == [RunState.DEGRADED]

    whole = world.services(checks=looking)
    assert [run.state for run in opened(whole, KEYS, days=2.1)] == [RunState.DONE]
    assert opened(whole, KEYS, days=3.1) == []
    assert check(whole).bad == []


def test_every_check_there_is_can_be_loaded(place: Place) -> None:
    assert set(checks(place.load())) == set(CHECKS)


def test_the_health_check_says_nothing_again_that_is_an_alert_by_itself(world: World, place: Place) -> None:
    DirectoryTarget(disk := world.folder / "disk", name="disk", region="eu").prepare()
    text = f'[targets.disk]\nkind = "directory"\npath = "{disk}"\nregion = "eu"\n'
    settings = place.load(text, env={"STRONGROOM_STATE_DIR": str(world.folder)})
    services = world.services(checks=checks(settings))
    assert [run.state for run in opened(services, HEALTH)] == [RunState.DONE]

    world.folder.chmod(0o777)
    findings, _ = check_areas(settings, days=30, now=time.time())
    [exposed] = [finding for finding in findings if finding.code == "KeyFileExposed"]
    assert exposed.is_alert
    [run] = opened(services, HEALTH, days=1)
    assert (run.state, run.error) == (RunState.DONE, None)
