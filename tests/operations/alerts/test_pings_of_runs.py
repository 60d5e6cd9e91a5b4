"""A policy's dead man's switch hears of each of its backups: that it starts, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.operations.engine.calendar_entries import Hook, Hooks
from strongroom.operations.notify.notify import gather_and_judge
from strongroom.state.records import Run, RunState
from tests.operations.alerts.receiver import Receiver
from tests.operations.alerts.test_channels import ping
from tests.operations.alerts.test_gather import LIMITS, watching
from tests.operations.world import POLICY, World, make_world

BACKUPS = f"policy {POLICY}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def backed_up(world: World, receiver: Receiver, **hooks: Hook) -> Run:
    own = Hooks(ping=ping(receiver), **hooks)  # type: ignore[arg-type]
    return world.back_up(world.services(hooks={BACKUPS: own}))


def test_a_backup_pings_when_it_starts_and_when_it_went_well(world: World, receiver: Receiver) -> None:
    run = backed_up(world, receiver)
    assert run.state is RunState.DONE
    assert receiver.paths == ["/start", ""]
    assert receiver.posts[1].body.decode() == f"run {run.id} of policy '{POLICY}': done"
    assert not any(b"CANARY" in post.body for post in receiver.posts)


def test_a_backup_that_fails_pings_that(world: World, receiver: Receiver) -> None:
    run = backed_up(world, receiver, before=Hook(command=("/bin/false",)))
    assert run.state is RunState.FAILED
    assert receiver.paths == ["/start", "/fail"]
    assert receiver.posts[1].body.decode().endswith("failed (HookFailed)")


def test_a_switch_that_does_not_answer_keeps_no_backup_back_and_is_an_alert(
    world: World, receiver: Receiver
) -> None:
    receiver.status = 500
    assert backed_up(world, receiver).state is RunState.DONE
    assert keys(world) == ["channel.failed:check"]
    receiver.status = 200
    assert backed_up(world, receiver).state is RunState.DONE
    assert keys(world) == []
    assert len(world.services().store.events(kind="channel.failed")) == 1, "once, however often it fails"


def keys(world: World) -> list[str]:
    return [alert.key for alert in gather_and_judge(watching(world), LIMITS).alerts]
