"""Depth first: with many backups queued, the first is whole before the last is planned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
from msgspec.structs import replace

from strongroom.operations.backup.name_index import Indexed
from strongroom.operations.engine.services import Pinned, RunLimits, Services
from strongroom.operations.engine.steps import perform_step, reconcile
from strongroom.operations.engine.submit import submit
from strongroom.state.errors import StateUnavailable
from strongroom.state.records import RunState, RunStep, StepKind, Ticket
from tests.operations.world import LEASE, POLICY, World, made_up, make_world

AT_ONCE = 3
QUEUED = 30


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, secrets=made_up(3), pieces=1)


def cluster(world: World, *, at_once: int = AT_ONCE) -> Services:
    """Return what a worker has: policies of any name, and runs that wait for their turn."""
    recipient = world.identity.recipient()
    return world.services(
        pinned=lambda policy: Pinned(
            spec=replace(world.spec, policy=policy), recipients=(recipient,), index_recipients=(recipient,)
        ),
        limits=RunLimits(lease=LEASE, backoff=0.01, at_once=at_once),
    )


def worked_off(services: Services, tickets: list[Ticket]) -> Iterator[tuple[str, str]]:
    """Perform what is due, first in, first out, as a queue has it; yield what becomes of the runs."""
    waiting = list(tickets)
    while waiting := waiting or reconcile(services):
        ticket = waiting.pop(0)
        following, outcome = perform_step(ticket, services)
        waiting += following
        if outcome is not None and ticket.step.kind is StepKind.PLAN:
            yield "planned", ticket.run
        elif outcome is not None and outcome.run.state.final:
            yield "ended", ticket.run


def happened(services: Services, policies: list[str]) -> list[tuple[str, str]]:
    """Queue a backup of each policy and work all of them off; return what became of them, in order."""
    tickets: list[Ticket] = []
    for policy in policies:
        tickets += submit(services, services.pinned(policy).spec)[1]
    return list(worked_off(services, tickets))


def test_the_first_is_whole_before_the_last_is_planned(world: World) -> None:
    services = cluster(world)
    told = happened(services, [f"policy-{number:02}" for number in range(QUEUED)])
    assert [what for what, _ in told].count("ended") == QUEUED
    begun, most = set[str](), 0
    for what, run in told:
        begun = begun | {run} if what == "planned" else begun - {run}
        most = max(most, len(begun))
    assert most <= AT_ONCE
    assert told.index(next(pair for pair in told if pair[0] == "ended")) <= 2 * AT_ONCE
    planned = [run for what, run in told if what == "planned"]
    assert planned == sorted(planned), "the oldest begins first"
    assert all(services.store.load(run).state is RunState.DONE for run in planned)


def test_two_of_a_policy_that_are_queued_at_once_have_one_chain_of_indexes(world: World) -> None:
    services = cluster(world)
    first, second = (run for what, run in happened(services, [POLICY, POLICY]) if what == "ended")
    result = services.store.row(second, RunStep(StepKind.INDEX)).result
    assert msgspec.convert(result, Indexed).chain == first


def test_who_drives_a_run_waits_for_no_turn(world: World) -> None:
    services = cluster(world, at_once=0)
    submitted = [submit(services, services.pinned(name).spec) for name in ("a", "b", "c", "d", "e")]
    assert all(tickets for _, tickets in submitted)


def test_a_database_that_is_away_for_the_next_run_takes_nothing_from_this_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = cluster(world, at_once=1)
    first, second = (submit(services, services.pinned(name).spec) for name in ("a", "b"))

    def away(*_: object, **__: object) -> NoReturn:
        raise StateUnavailable("the state database stayed locked by another process")

    with monkeypatch.context() as patched:
        patched.setattr(services.store, "begin_next", away)
        assert list(worked_off(services, first[1])) == [("planned", first[0]), ("ended", first[0])]
        third, tickets = submit(services, services.pinned("c").spec)
        assert (services.store.load(third).queued, tickets) == (True, [])
    ended = [run for what, run in worked_off(services, []) if what == "ended"]
    assert ended == [second[0], third]
