"""A slice of a rotation in one step: what goes through together, and what is handed on."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from multiprocessing import active_children
from pathlib import Path

import pytest

from strongroom.container.manifest import Manifest
from strongroom.container.wrapping import Stanza
from strongroom.keys import Opener
from strongroom.keys.errors import KeyServiceUnavailable
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.archive.envelopes import find_newest, wrapping_keys
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import perform, reconcile
from strongroom.operations.rotation import job
from strongroom.operations.rotation.job import SLICE, end_of, results, slices, submit_rotation
from strongroom.state.records import ROTATING, Run, RunState, StepState
from strongroom.targets.directory import DirectoryTarget
from tests.operations.many import enter, make_backup, place
from tests.operations.rotation.rotating import CountingIdentity, Rotated
from tests.operations.world import POLICY

Asked = Callable[[int], None]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a slice take its time: on a busy machine it would be over before its end, and others follow."""
    monkeypatch.setattr(job, "STEP_SECONDS", math.inf)


class KeyService(CountingIdentity):
    """The old key, in a key service's hands: ``asked`` is told each time how often it was asked before."""

    __slots__ = ("asked",)

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.asked: Asked = lambda _: None

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        found = super().unwrap(stanza, context=context)
        if found is not None:
            self.asked(self.opened - 1)
        return found


class House:
    """Backups on a directory, sealed for the old key."""

    def __init__(self, folder: Path) -> None:
        self.at = Rotated(folder)
        self.old = KeyService(self.at.old._key.reveal())
        self.target = DirectoryTarget(folder / "eu", name="eu", region="eu")
        self.target.prepare()
        self.at.world = replace(self.at.world, targets={"eu": self.target}).with_spec(
            targets=(pin_target("eu", self.target),), quorum=1, regions=1
        )
        self.manifests: list[Manifest] = []

    def back_up(self, count: int, *, key: Opener | None = None) -> None:
        signers = (self.at.world.signers["control"], self.at.world.signers["seal"])
        recipients = [(key or self.old).recipient()]
        for _ in range(count):
            number = len(self.manifests)
            made = make_backup(number, recipients=recipients, spec=self.at.world.spec, signers=signers)
            self.manifests.append(made[0])
            place(made[1], self.target)
            enter(self.at.world.services().store, [made])

    def services(self) -> Services:
        return self.at.services(self.old, self.at.new)

    def rotate(self, services: Services, *, processes: int = 1) -> Run:
        run, tickets = submit_rotation(services, policy=POLICY)
        return drive(run, tickets, services, processes=processes)

    def rotated(self) -> list[str]:
        """Name the backups that have a second envelope."""
        return [manifest.backup_id for manifest in self.manifests if self._is_rotated(manifest)]

    def _is_rotated(self, manifest: Manifest) -> bool:
        (key,) = wrapping_keys(manifest)
        newest = find_newest(self.target, key, trusted=self.at.trusted).newest
        return newest is not None and newest.generation == 2

    @property
    def names(self) -> list[str]:
        return [manifest.backup_id for manifest in self.manifests]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def shape(services: Services, run: Run) -> dict[str, StepState]:
    """Return a rotation's steps and how they stand."""
    rows = [row for kind in ROTATING for row in services.store.rows(run.id, kind)]
    return {str(row.step): row.state for row in rows}


def starts(begin: int, end: int, *, backups: int) -> list[int]:
    return [step.piece for step in slices(begin, end, backups=backups)]


def test_a_plan_begins_with_one_backup_and_goes_on_in_slices() -> None:
    assert starts(0, 100, backups=100) == [0, 1, 33, 65, 97]
    assert starts(0, 1, backups=1) == [0]
    assert starts(0, 0, backups=0) == []


def test_slices_are_large_as_long_as_much_is_left_and_small_at_the_end() -> None:
    begins = starts(0, 1000, backups=1000)
    sizes = [end_of(begin, 1000) - begin for begin in begins]
    assert sizes == [1, *[128] * 4, *[64] * 4, *[32] * 7, 7]


def test_what_is_left_of_a_slice_makes_several() -> None:
    assert starts(11, 33, backups=33) == [11, 13, 17]
    assert [end_of(piece, 33) for piece in (11, 13, 17)] == [13, 17, 33]


@pytest.mark.parametrize("backups", [300, 1000, 1001])
def test_wherever_a_rest_begins_its_slices_cover_it_once(backups: int) -> None:
    for begin in range(1, backups):
        end = end_of(begin, backups)
        for rest in range(begin, end):
            pieces = starts(rest, end, backups=backups)
            assert [n for piece in pieces for n in range(piece, end_of(piece, backups))] == [
                *range(rest, end)
            ]


@pytest.mark.parametrize("backups", [1, 33, 300, 1000])
def test_no_slice_is_shorter_than_one_that_an_earlier_version_left_waiting(backups: int) -> None:
    """That version's began at 1, 33, 65 … and it has none in between, where a shorter one would end."""
    for begin in range(1, backups, 32):
        assert end_of(begin, backups) >= min(begin + 32, backups)


def test_backups_share_a_step_and_each_has_its_result(house: House) -> None:
    house.back_up(40)
    services = house.services()
    run = house.rotate(services)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert shape(services, run) == dict.fromkeys(("rewrap/0", "rewrap/1", "rewrap/33"), StepState.DONE)
    assert house.rotated() == house.names
    assert [one["backup"] for one in results(services.store, run.id)] == house.names
    assert (house.old.opened, house.at.recipient.wraps, house.at.new.opened) == (40, 40, 40)


def test_a_backup_that_fails_costs_the_others_of_its_slice_nothing(house: House) -> None:
    house.back_up(3)
    house.back_up(1, key=KeyFileIdentity(os.urandom(32)))
    house.back_up(3)
    services = house.services()
    run = house.rotate(services)
    assert run.state is RunState.DEGRADED
    assert str(run.error).startswith("1 of 7 backups was not rotated: WrongKey")
    assert set(house.names) - set(house.rotated()) == {house.names[3]}
    assert shape(services, run) == {
        "rewrap/0": StepState.DONE,
        "rewrap/1": StepState.DONE,
        "rotate/3": StepState.MISSED,
    }
    assert [event.detail["step"] for event in services.store.events(kind="step.failed")] == ["rotate/3"]


def test_if_no_backup_can_be_rotated_the_run_fails(house: House) -> None:
    house.back_up(3, key=KeyFileIdentity(os.urandom(32)))
    run = house.rotate(house.services())
    assert run.state is RunState.FAILED
    assert str(run.error).endswith("(no backup was rotated)")


def test_a_passing_failure_is_tried_again_and_nothing_else_is(house: House) -> None:
    def away(before: int) -> None:
        if before == 3:
            raise KeyServiceUnavailable("the HSM was unplugged")

    house.old.asked = away
    house.back_up(8)
    services = house.services()
    run = house.rotate(services)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert shape(services, run)["rotate/3"] is StepState.DONE
    assert house.rotated() == house.names
    assert len(results(services.store, run.id)) == 8
    assert (house.old.opened, house.at.recipient.wraps, house.at.new.opened) == (9, 8, 8)


def test_a_slice_that_takes_too_long_hands_its_rest_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "STEP_SECONDS", -1.0)
    house.back_up(8)
    services = house.services()
    run = house.rotate(services)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert list(shape(services, run)) == [f"rewrap/{piece}" for piece in range(8)]
    assert house.rotated() == house.names
    assert len(results(services.store, run.id)) == 8
    assert house.at.recipient.wraps == 8


def test_what_a_slice_did_before_it_was_broken_off_is_not_done_again(house: House) -> None:
    def stop(before: int) -> None:
        if before == 5:
            raise KeyboardInterrupt

    house.old.asked = stop
    house.back_up(8)
    services = house.services()
    run, tickets = submit_rotation(services, policy=POLICY)
    with pytest.raises(KeyboardInterrupt):
        drive(run, tickets, services, processes=1)
    assert house.rotated() == house.names[:5]
    assert drive(run, [], services, processes=1).state is RunState.DONE
    assert house.rotated() == house.names
    assert house.at.recipient.wraps == 8
    assert len(results(services.store, run)) == 8


def test_a_slice_that_kills_its_workers_falls_apart_and_only_the_killer_is_missed(house: House) -> None:
    house.back_up(4)
    services = house.services()
    run, [plan] = submit_rotation(services, policy=POLICY)
    due = {ticket.step: ticket for ticket in perform(plan, services)}
    _, killing = due
    for _ in range(5):
        assert services.store.claim(due.pop(killing), owner="killed", lease=-1.0) is not None
        due |= {ticket.step: ticket for ticket in reconcile(services)}  # on a busy machine the first one too
    done = drive(run, list(due.values()), services, processes=1)
    assert (done.state, done.error) == (RunState.DONE, None)
    assert shape(services, done) == {
        "rewrap/0": StepState.DONE,
        "rewrap/1": StepState.MISSED,
        "rotate/1": StepState.DONE,
        "rotate/2": StepState.DONE,
        "rotate/3": StepState.DONE,
    }
    assert house.rotated() == house.names


def test_slices_are_spread_over_processes_once_one_was_done_in_this(house: House, tmp_path: Path) -> None:
    log = tmp_path / "asked"

    def note(_: int) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")

    house.old.asked = note
    house.back_up(SLICE + 4)
    services = house.services()
    run = house.rotate(services, processes=2)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert house.rotated() == house.names
    asked = Counter(map(int, log.read_text().split()))
    assert asked[os.getpid()] == 1
    assert active_children() == []
    assert sum(asked.values()) == SLICE + 4
    assert len(results(services.store, run.id)) == SLICE + 4


@pytest.mark.parametrize("lost", [False, True])
def test_a_person_is_asked_once_and_by_the_first_process_whatever_the_first_backup_is(
    house: House, tmp_path: Path, *, lost: bool
) -> None:
    log = tmp_path / "asked"
    house.back_up(2 * SLICE + 4)
    if lost:
        house.target.delete(manifest_name(house.names[0]))
    services = house.services()
    held = services.identities()

    @cache
    def ask() -> tuple[Opener, ...]:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return held

    house.rotate(replace(services, identities=ask), processes=2)
    assert log.read_text().split() == [str(os.getpid())]
    assert set(house.names[1:]) <= set(house.rotated())


def test_a_slice_whose_row_says_done_and_tells_of_no_backup_is_not_believed(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.back_up(3)
    services = house.services()
    run, [plan] = submit_rotation(services, policy=POLICY)
    tickets = perform(plan, services)
    nothing = json.dumps({"backups": [], "alone": [], "rest": 3})
    with sqlite3.connect(tmp_path / "state.db") as connection:
        edit = "UPDATE steps SET state = 'done', result = ? WHERE kind = 'rewrap' AND piece = 1"
        assert connection.execute(edit, (nothing,)).rowcount == 1

    done = drive(run, tickets, services, processes=1)
    assert (done.state, len(house.rotated())) == (RunState.DEGRADED, 1)
    assert done.error == "2 of 3 backups were not looked at; repeat the rotation"
