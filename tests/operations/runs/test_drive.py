"""The in-process driver: what overlaps, and what waits for how long."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import NoReturn

import pytest
from msgspec.structs import replace as msgspec_replace
from sqlalchemy import event

from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine import drive as driving
from strongroom.operations.engine.drive import _Pool, drive
from strongroom.operations.engine.jobs import Where, decide_given_up
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.steps import perform
from strongroom.operations.errors import StillEnding
from strongroom.state.errors import StateUnavailable, StateUnkept
from strongroom.state.records import Claim, RunState, StepKind, StepRow, StepState, Ticket
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import POLICY, REGIONS, make_world
from tests.patience import PATIENCE


class Meeting(MemoryTarget):
    """A region that stores nothing before the others are being stored to."""

    def __init__(self, name: str, barrier: threading.Barrier) -> None:
        super().__init__(name=name, region=name)
        self._barrier = barrier

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        if name.startswith("containers/"):
            self._barrier.wait(timeout=PATIENCE)
        return super().put(name, chunks, size=size, sha256=sha256)


def test_regions_are_uploaded_to_at_once(tmp_path: Path) -> None:
    world = make_world(tmp_path, pieces=1)
    barrier = threading.Barrier(len(REGIONS))
    services = world.services(targets={name: Meeting(name, barrier) for name in REGIONS})
    run, tickets = submit_backup(services, policy=POLICY)
    assert drive(run, tickets, services, processes=2).state is RunState.DONE


class Resting(MemoryTarget):
    """A region that asks to be left alone for a minute."""

    def put(self, *_: object, **__: object) -> NoReturn:
        raise TargetUnavailable("target 'us' is left alone", retry_after=60.0)


def test_forked_processes_leave_once_nothing_is_left_to_spread(tmp_path: Path) -> None:
    services = make_world(tmp_path, pieces=2).services()
    _, [planned] = submit_backup(services, policy=POLICY)
    captures = perform(planned, services)
    pool = _Pool(services, 2, {StepKind.CAPTURE: Where.FORKED})
    assert all(pool.take(ticket, len(captures)) for ticket in captures)
    while pool.busy:
        pool.collect(block=True)
    assert active_children() != []

    pool.dismiss()
    assert not pool.take(captures[0], 2)
    pool.close()
    assert active_children() == []
    assert not [thread for thread in threading.enumerate() if thread.name == "dismiss"]


def test_what_a_killed_process_was_at_is_done_by_the_one_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel kills one for want of memory. No lease ends before the run does."""
    services = make_world(tmp_path, pieces=3).services()
    run, [planned] = submit_backup(services, policy=POLICY)
    captures = perform(planned, services)
    parent, at_work = os.getpid(), driving.perform

    def perform_here_alone(ticket: Ticket, services: Services) -> list[Ticket]:
        if os.getpid() != parent:
            services.store.claim(ticket, owner=services.owner, lease=1e6)
            os.kill(os.getpid(), signal.SIGKILL)
        return at_work(ticket, services)

    monkeypatch.setattr(driving, "perform", perform_here_alone)
    assert drive(run, captures, services, processes=2, patience=0.0).state is RunState.DONE
    rows = services.store.rows(run, StepKind.CAPTURE)
    assert len(rows) == len(captures) > 1
    assert max(row.attempts for row in rows) == 2, "a process claimed one, and was killed"


def test_a_run_that_is_interrupted_between_a_claim_and_its_work_waits_for_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = make_world(tmp_path, pieces=2).services()
    services = replace(services, limits=msgspec_replace(services.limits, lease=1e6))
    claim = services.store.claim
    asked = 0

    def interrupted(ticket: Ticket, *, owner: str, lease: float | None = None) -> Claim | None:
        nonlocal asked
        asked += 1
        claimed = claim(ticket, owner=owner, lease=lease)
        if asked == 2:
            raise KeyboardInterrupt
        return claimed

    monkeypatch.setattr(services.store, "claim", interrupted)
    monkeypatch.setattr(driving, "ENDS_SECONDS", 0.3)

    def back_up() -> None:
        with driving.ended_if_interrupted(services):
            drive(*submit_backup(services, policy=POLICY), services, processes=1)

    with pytest.raises(KeyboardInterrupt):
        back_up()
    [run] = services.store.runs()
    assert run.state is RunState.CANCELLED


def test_what_an_interruption_left_open_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strongroom.state.engine.BUSY_SECONDS", 0.3)
    services = make_world(tmp_path, pieces=1).services()
    run, _ = submit_backup(services, policy=POLICY)

    def interrupted() -> None:
        writing = services.store._database.writing()
        writing.__enter__()
        raise KeyboardInterrupt

    def driven() -> None:
        with driving.ended_if_interrupted(services) as known:
            known.append(run)
            interrupted()

    with pytest.raises(KeyboardInterrupt):
        driven()
    assert services.store.load(run).state is RunState.CANCELLED


def test_a_run_that_was_on_record_before_is_not_taken_back(tmp_path: Path) -> None:
    """A scrub that is gone on with finds the repairs that it ordered; a cluster may be at work on them."""
    services = make_world(tmp_path, pieces=1).services()
    run, _ = submit_backup(services, policy=POLICY, request_id="ordered")

    def order_again() -> None:
        with driving.ended_if_interrupted(services):
            assert submit_backup(services, policy=POLICY, request_id="ordered")[0] == run
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        order_again()
    assert services.store.load(run).state is RunState.ACTIVE


def test_a_run_that_does_not_end_keeps_no_other_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "ENDS_SECONDS", 0.3)
    services = make_world(tmp_path, pieces=1).services()

    def begin_both() -> None:
        with driving.ended_if_interrupted(services):
            run, [ticket] = submit_backup(services, policy=POLICY)
            submit_backup(services, policy=POLICY)
            services.store.claim(ticket, owner="another process", lease=1e6)
            with driving.ended_if_interrupted(services) as at_work:
                at_work.append(run)
                raise KeyboardInterrupt

    with pytest.raises(StillEnding):
        begin_both()
    states = [run.state for run in reversed(services.store.runs())]
    assert states == [RunState.ACTIVE, RunState.CANCELLED]


def test_what_a_whole_backup_asks_of_the_database_a_step_does_not_grow(tmp_path: Path) -> None:
    services = make_world(tmp_path, pieces=3).services()
    run, tickets = submit_backup(services, policy=POLICY)
    asked: list[
        str
    ] = []  # by which thread: those that renew leases do so the more, the slower the machine is
    event.listen(
        services.store._database.engine,
        "before_cursor_execute",
        lambda *_: asked.append(threading.current_thread().name),
    )
    assert drive(run, tickets, services, processes=1).state is RunState.DONE
    assert 0 < asked.count("MainThread") <= 14.8 * len(services.store.rows(run))


def rests(folder: Path, name: str, **policy: int) -> StepRow:
    """Back up with one resting region, and return how its upload stands once all else is done."""
    world = make_world(folder, pieces=1, **policy)
    services = world.services(targets={**world.targets, name: Resting(name=name, region=name)})
    run, tickets = submit_backup(services, policy=POLICY)
    while tickets:
        tickets += perform(tickets.pop(0), services)
    [row] = [row for row in services.store.rows(run, StepKind.UPLOAD) if row.step.target == name]
    return row


def test_a_region_that_the_quorum_needs_gets_its_pause_before_the_next_try(tmp_path: Path) -> None:
    waiting = rests(tmp_path, "us", quorum=3, regions=3)
    assert waiting.state is StepState.READY
    assert waiting.not_before is not None
    assert time.time() + 30 < waiting.not_before < time.time() + 70


def test_nobody_waits_for_a_resting_region_once_the_others_hold_all(tmp_path: Path) -> None:
    """The uploads go in order of names: 'us' is last, and a quorum of two is there by then."""
    assert rests(tmp_path, "us").state is StepState.MISSED


def test_a_resting_region_is_waited_for_until_the_others_are_through_and_given_up_then(
    tmp_path: Path,
) -> None:
    """'ap' is first: it is left alone for its minute, but tried again as soon as nobody needs it."""
    row = rests(tmp_path, "ap")
    assert (row.state, row.attempts) == (StepState.MISSED, 2)


class Woken(MemoryTarget):
    """A region that asks to be left alone, and is there when it is asked again."""

    asked = 0

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        self.asked += name.startswith("containers/")
        if self.asked == 1:
            raise TargetUnavailable("target 'ap' is left alone", retry_after=60.0)
        return super().put(name, chunks, size=size, sha256=sha256)


def test_one_that_is_there_when_it_is_tried_again_misses_nothing(tmp_path: Path) -> None:
    world = make_world(tmp_path, pieces=1)
    services = world.services(targets={**world.targets, "ap": Woken(name="ap", region="ap")})
    run, tickets = submit_backup(services, policy=POLICY)
    while tickets:
        tickets += perform(tickets.pop(0), services)
    assert services.store.load(run).state is RunState.DONE


def test_a_backup_with_a_resting_region_ends_without_its_pause(tmp_path: Path) -> None:
    world = make_world(tmp_path, pieces=3)
    services = world.services(targets={**world.targets, "ap": Resting(name="ap", region="ap")})
    run, tickets = submit_backup(services, policy=POLICY)
    while tickets:
        tickets += perform(tickets.pop(0), services)
    assert services.store.load(run).state is RunState.DEGRADED


def test_a_run_that_is_cancelled_ends_or_says_within_a_bounded_wait_which_process_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = make_world(tmp_path, pieces=1).services()
    run, [planned] = submit_backup(services, policy=POLICY)
    claim = services.store.claim(planned, owner="backup-host:4711", lease=600.0)
    services.store.cancel(run)
    monkeypatch.setattr(driving, "ENDS_SECONDS", 0.3)
    with pytest.raises(StillEnding, match=r"waits for plan \(process backup-host:4711\)"):
        driving.end(run, services)
    assert claim is not None
    services.store.fail(claim, "let go", retry_in=0.0, decide=decide_given_up)
    assert driving.end(run, services).state is RunState.CANCELLED


def test_a_run_whose_step_is_leased_for_ever_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    services = make_world(tmp_path, pieces=1).services()
    run, [planned] = submit_backup(services, policy=POLICY)
    services.store.claim(planned, owner="backup-host:4711")
    with services.store._database.writing() as conn:
        conn.exec_driver_sql("UPDATE steps SET lease_expires = 1e18")
    services.store.cancel(run)
    assert driving.end(run, services).state is RunState.CANCELLED


def test_a_backup_into_a_database_that_ignores_changes_fails_instead_of_spinning(tmp_path: Path) -> None:
    services = make_world(tmp_path, pieces=1).services()
    run, tickets = submit_backup(services, policy=POLICY)

    def done(_: Ticket) -> NoReturn:
        pytest.fail("a step was done that is not on record")

    with services.store._database.writing() as conn:
        conn.exec_driver_sql("CREATE TRIGGER t BEFORE UPDATE ON steps BEGIN SELECT RAISE(IGNORE); END")
    with pytest.raises(StateUnkept):
        drive(run, tickets, services, processes=1, watch=done)
    services.store.cancel(run)
    with pytest.raises(StateUnkept):
        driving.end(run, services)


def test_a_run_that_is_over_is_not_spoilt_by_what_becomes_of_those_of_long_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = make_world(tmp_path, pieces=1).services()

    def away(*_: object, **__: object) -> NoReturn:
        raise StateUnavailable("the state database stayed locked by another process")

    monkeypatch.setattr(services.store, "fold", away)
    run, tickets = submit_backup(services, policy=POLICY)
    assert drive(run, tickets, services, processes=1).state is RunState.DONE
