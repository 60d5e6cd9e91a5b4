"""The in-process driver: what overlaps, and what waits for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from strongroom.errors import TargetUnavailable
from strongroom.operations.drive import drive
from strongroom.operations.steps import perform
from strongroom.operations.submit import submit_backup
from strongroom.state.records import RunState, StepKind, StepState
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import POLICY, REGIONS, make_world


class Meeting(MemoryTarget):
    """A region that stores nothing before the others are being stored to."""

    def __init__(self, name: str, barrier: threading.Barrier) -> None:
        super().__init__(name=name, region=name)
        self._barrier = barrier

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        if name.startswith("containers/"):
            self._barrier.wait(timeout=30)
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


def test_a_region_that_asks_for_a_pause_gets_it_before_the_next_try(tmp_path: Path) -> None:
    world = make_world(tmp_path, pieces=1)
    services = world.services(targets={**world.targets, "us": Resting(name="us", region="us")})
    run, tickets = submit_backup(services, policy=POLICY)
    while tickets:
        tickets += perform(tickets.pop(0), services)
    [waiting] = [row for row in services.store.rows(run, StepKind.UPLOAD) if row.step.target == "us"]
    assert waiting.state is StepState.READY
    assert waiting.not_before is not None
    assert waiting.not_before > time.time() + 30
