"""A full stage, a full target that is needed, and one that does not answer are waited for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from strongroom.cli.shared import runs
from strongroom.cli.shared.render_run import as_document, parts_of
from strongroom.cli.terminal.output import Output
from strongroom.errors import StrongroomError
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import RunLimits
from strongroom.operations.engine.steps import perform
from strongroom.sheet import Sheet
from strongroom.state.records import Run, RunState, StepKind, StepRow, StepState, Tally, Ticket
from strongroom.system.errors import TargetFull, TargetReadOnly
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import LEASE, POLICY, REGIONS, World, make_world, names_on

PATIENT = RunLimits(lease=LEASE, backoff=0.01, patience=3600.0, pause=0.01)


class Closed(MemoryTarget):
    """A place that refuses to store anything while there is a ``reason``.

    After so many ``refusals`` the reason is gone: what it lacked is there now.
    """

    reason: StrongroomError | None = None
    refusals = 0
    passes_after = 12

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        if self.reason is not None:
            self.refusals += 1
            if self.refusals > self.passes_after:
                self.reason = None
            else:
                raise self.reason
        return super().put(name, chunks, size=size, sha256=sha256)


REASONS = {
    "full": TargetFull("there is no room"),
    "read-only": TargetReadOnly("it takes nothing"),
    "away": TargetUnavailable("it does not answer"),
}


def closed(world: World, name: str) -> Closed:
    place = world.stage if name == "stage" else world.targets[name]
    assert isinstance(place, Closed)
    return place


@pytest.fixture
def world(tmp_path: Path) -> World:
    targets: dict[str, Target] = {name: Closed(name=name, region=name) for name in REGIONS}
    return make_world(tmp_path).with_targets(targets).with_stage(Closed(name="stage", region="local"))


def back_up(world: World, *, limits: RunLimits = PATIENT) -> tuple[Run, list[StepRow]]:
    services = world.services(limits=limits)
    run = world.back_up(services)
    return run, services.store.rows(run.id)


@pytest.mark.parametrize("reason", REASONS)
def test_a_stage_that_is_closed_for_a_while_pauses_the_captures_and_costs_no_attempt(
    world: World, reason: str
) -> None:
    stage = closed(world, "stage")
    stage.reason = REASONS[reason]
    run, rows = back_up(world)
    assert run.state is RunState.DONE, run.error
    assert stage.refusals > PATIENT.attempts
    assert {row.attempts for row in rows} == {1}
    assert names_on(stage) == []


@pytest.mark.parametrize("reason", REASONS)
def test_a_target_without_which_there_is_no_quorum_is_waited_for(world: World, reason: str) -> None:
    world = world.with_spec(quorum=3, regions=3)
    us = closed(world, "us")
    us.reason, us.passes_after = REASONS[reason], 40
    run, rows = back_up(world)
    assert run.state is RunState.DONE, run.error
    assert {row.attempts for row in rows if row.step.kind is StepKind.UPLOAD} == {1}


@pytest.mark.parametrize(("quorum", "what"), [(3, "waits"), (2, "tries again")])
def test_anyone_who_follows_a_run_is_told_once_what_it_waits_for_or_tries_again(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    quorum: int,
    what: str,
) -> None:
    monkeypatch.setattr(runs, "_LOOK_SECONDS", 0.0)
    world = world.with_spec(quorum=quorum, regions=quorum)
    closed(world, "us").reason = TargetUnavailable("it has no .strongroom-target", hint="Set create = true.")
    services = world.services(limits=PATIENT)
    run, tickets = submit_backup(services, policy=POLICY)
    waits = runs.WaitReporter(Output(), services.store)
    drive(run, tickets, services, processes=1, watch=lambda _: waits.tell(services.store.load(run)))
    told = [line for line in capsys.readouterr().err.splitlines() if what in line]
    assert len(told) == 1
    assert "it has no .strongroom-target. Set create = true." in " ".join(told)


@pytest.mark.parametrize("reason", ["full", "read-only"])
def test_a_target_that_the_quorum_can_do_without_is_not_waited_for(world: World, reason: str) -> None:
    us = closed(world, "us")
    us.reason, us.passes_after = REASONS[reason], 10_000
    run, rows = back_up(world)
    assert run.state is RunState.DEGRADED
    assert {row.state for row in rows if row.step.target == "us"} == {StepState.MISSED}


def test_of_two_closed_targets_the_one_that_is_needed_is_waited_for(world: World) -> None:
    for name in ("us", "ap"):
        closed(world, name).reason = REASONS["full"]
        closed(world, name).passes_after = 20
    run, _ = back_up(world)
    assert run.state is RunState.DEGRADED, run.error
    good = {replica.target for replica in world.services().store.replicas(run.id) if replica.good}
    assert len(good) == 2


def test_two_targets_that_close_at_the_same_moment_are_not_both_given_up(world: World) -> None:
    """Each would be given up, since the other seems to be sound."""
    for name in ("us", "ap"):
        closed(world, name).reason = REASONS["full"]
        closed(world, name).passes_after = 20
    services, other = world.services(limits=PATIENT), world.services(limits=PATIENT)
    run, queue = submit_backup(services, policy=POLICY)
    while queue[0].step.kind is not StepKind.UPLOAD:
        queue += perform(queue.pop(0), services)
    by_target = {ticket.step.target: ticket for ticket in reversed(queue)}
    tally = services.store.tally

    def failed_meanwhile(name: str) -> Tally:
        seen = tally(name)
        services.store.tally = tally  # type: ignore[method-assign]
        perform(by_target["ap"], other)
        return seen

    services.store.tally = failed_meanwhile  # type: ignore[method-assign]
    queue += perform(by_target["us"], services)

    ended = drive(run, queue, services, processes=1)
    assert ended.state is RunState.DEGRADED, ended.error
    good = {replica.target for replica in services.store.replicas(run) if replica.good}
    assert good == {"eu", "us"}


class Sealed(Closed):
    """One that closes when it is given a manifest."""

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        if name.startswith("manifests/") and not self.refusals:
            self.reason = REASONS["full"]
        return super().put(name, chunks, size=size, sha256=sha256)


def test_a_commit_waits_until_its_quorum_can_take_the_manifest(tmp_path: Path) -> None:
    targets: dict[str, Target] = {name: Sealed(name=name, region=name) for name in REGIONS}
    world = make_world(tmp_path, pieces=1).with_targets(targets)
    run, rows = back_up(world)
    assert run.state is RunState.DONE, run.error
    assert [row.attempts for row in rows if row.step.kind is StepKind.COMMIT] == [1]


@pytest.mark.parametrize("place", ["stage", "us"])
def test_patience_ends_and_the_run_fails_saying_what_it_waited_for(world: World, place: str) -> None:
    world = world.with_spec(quorum=3, regions=3)
    closed(world, place).reason, closed(world, place).passes_after = REASONS["full"], 10_000
    run, rows = back_up(world, limits=msgspec.structs.replace(PATIENT, patience=0.3))
    assert run.state is RunState.FAILED
    assert any("TargetFull: there is no room (waited for" in str(row.error) for row in rows)
    assert all(names_on(target) == [] for target in world.targets.values())


def test_without_patience_as_in_a_command_nothing_is_waited_for(world: World) -> None:
    stage = closed(world, "stage")
    stage.reason = REASONS["full"]
    run, _ = back_up(world, limits=RunLimits(lease=LEASE, backoff=0.01))
    assert (run.state, "TargetFull" in str(run.error)) == (RunState.FAILED, True)
    assert stage.refusals == 1


def test_what_a_run_waits_for_is_shown_while_it_does(world: World) -> None:
    closed(world, "stage").reason = REASONS["full"]
    services = world.services(limits=PATIENT)
    run, tickets = submit_backup(services, policy=POLICY)
    seen: list[tuple[object, list[str]]] = []

    def watch(ticket: Ticket) -> None:
        found, rows = services.store.load(run), services.store.rows(run)
        if any(row.waits_since for row in rows):
            seen.append(
                (
                    as_document(found, rows)["waiting"],
                    Sheet(parts=list(parts_of(found, rows))).text().splitlines(),
                )
            )

    ended = drive(run, tickets, services, processes=1, watch=watch)
    document, lines = seen[0]
    assert isinstance(document, dict)
    assert document["error"] == "TargetFull: there is no room"
    assert lines[0].endswith(": waiting")
    assert any("waits for" in line and "there is no room" in line for line in lines)
    assert as_document(ended, services.store.rows(run))["waiting"] is None


def test_a_cancelled_run_does_not_go_on_waiting(world: World) -> None:
    stage = closed(world, "stage")
    stage.reason, stage.passes_after = REASONS["full"], 10_000
    services = world.services(limits=PATIENT)
    run, tickets = submit_backup(services, policy=POLICY)

    def watch(ticket: Ticket) -> None:
        if any(row.waits_since for row in services.store.rows(run)):
            services.store.cancel(run)

    assert drive(run, tickets, services, processes=1, watch=watch).state is RunState.CANCELLED


def test_a_full_stage_is_noticed_before_the_source_is_read(tmp_path: Path) -> None:
    """Tried again every few seconds, each capture would fill the audit log of the source."""
    stage = DirectoryTarget(tmp_path / "stage", name="stage", region="local")
    stage.prepare()
    world = make_world(tmp_path, pieces=1).with_stage(stage)
    full = DirectoryTarget(tmp_path / "stage", name="stage", region="local", reserve=1 << 62)
    services, reads = world.services(limits=PATIENT), list[object]()
    run, tickets = submit_backup(services, policy=POLICY)
    (capture,) = perform(tickets[0], services)
    source = services.source("vault")
    read = source.read
    source.read = lambda entries: reads.append(entries) or read(entries)  # type: ignore[method-assign]
    pausing = structs.replace(PATIENT, pause=3600.0)
    assert perform(capture, world.with_stage(full).services(limits=pausing)) == []
    assert (reads, bool(services.store.row(run, capture.step).waits_since)) == ([], True)
