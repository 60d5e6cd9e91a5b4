"""What a run had to leave is swept by a later one."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.errors import StrongroomError, TargetLocked, TargetUnavailable
from strongroom.operations.services import Services
from strongroom.state.records import Run, RunState
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import World, make_world, names_on


class Keeping(MemoryTarget):
    """A target that gives up nothing while there is a ``reason``."""

    reason: StrongroomError | None = None
    deleted = 0

    def delete(self, name: str) -> None:
        if self.reason is not None:
            raise self.reason
        self.deleted += 1
        super().delete(name)


@pytest.fixture
def us() -> Keeping:
    return Keeping(name="us", region="us")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, pieces=1)


def failing(world: World, us: Keeping) -> Services:
    """Return services under which a run uploads all, and does not commit: its quorum is beyond reach."""
    return world.with_spec(quorum=4).services(targets={**world.targets, "us": us})


def back_up(world: World, services: Services, state: RunState) -> Run:
    run = world.back_up(services)
    assert run.state is state, run.error
    return run


@pytest.mark.parametrize(
    "reason", [TargetLocked("it is locked"), TargetUnavailable("it does not answer")], ids=["locked", "dead"]
)
def test_what_a_failed_run_had_to_leave_is_swept_after_a_later_one(
    world: World, us: Keeping, reason: StrongroomError
) -> None:
    us.reason = reason
    failed = back_up(world, failing(world, us), RunState.FAILED)
    assert failed.facts["report"]["unswept"] == ["us"]
    left = names_on(us)
    assert left
    us.reason = None

    good = back_up(world, world.services(targets={**world.targets, "us": us}), RunState.DONE)

    assert good.facts["report"]["swept"] == [failed.id]
    assert not set(left) & set(names_on(us))
    assert all(good.id in name for name in names_on(us))


def test_it_is_not_forgotten_among_the_runs_that_came_later(world: World, us: Keeping) -> None:
    us.reason = TargetLocked("it is locked")
    failed = back_up(world, failing(world, us), RunState.FAILED)
    us.reason = None
    services = world.services(targets={**world.targets, "us": us})
    for _ in range(1_001):
        assert services.store.create(failed.spec, first=()) is not None
    assert back_up(world, services, RunState.DONE).facts["report"]["swept"] == [failed.id]


def test_it_is_swept_once(world: World, us: Keeping) -> None:
    us.reason = TargetLocked("it is locked")
    back_up(world, failing(world, us), RunState.FAILED)
    us.reason = None
    services = world.services(targets={**world.targets, "us": us})
    back_up(world, services, RunState.DONE)
    again = back_up(world, services, RunState.DONE)

    assert again.facts["report"]["swept"] == []
    assert us.deleted == 1


def test_what_is_still_locked_stays_to_be_swept(world: World, us: Keeping) -> None:
    us.reason = TargetLocked("it is locked")
    failed = back_up(world, failing(world, us), RunState.FAILED)
    services = world.services(targets={**world.targets, "us": us})
    assert back_up(world, services, RunState.DONE).facts["report"]["swept"] == []
    us.reason = None
    assert back_up(world, services, RunState.DONE).facts["report"]["swept"] == [failed.id]
