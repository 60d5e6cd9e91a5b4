"""What children list ahead is kept by them within a bound, until their parent reads."""

from __future__ import annotations

import os
from collections import defaultdict
from queue import Queue
from struct import Struct

import pytest

from strongroom.model import Selection
from strongroom.operations.backup.plan import AHEAD, Ahead
from strongroom.operations.engine import layout
from strongroom.sources.memory import MemoryStore
from strongroom.system import every_core
from strongroom.system.process import may_fork
from tests.operations.world import made_up

pytestmark = [
    pytest.mark.skipif(not may_fork(), reason="forking is not safe on this system"),
    pytest.mark.platform,
]

TOLD = Struct("q?")
SMALL = 4_000
"""Entries a batch: more bytes than a pipe holds, and few enough for a test to make many."""


def watched(telling: int) -> type[Queue[tuple[bytes, bytes]]]:
    """Return a queue that tells, of what a child puts there, whether it has to wait."""

    class Watched(Queue[tuple[bytes, bytes]]):
        def put(self, item: tuple[bytes, bytes], block: bool = True, timeout: float | None = None) -> None:
            os.write(telling, TOLD.pack(os.getpid(), self.full()))
            super().put(item, block, timeout)

    return Watched


@pytest.mark.parametrize("children", [1, 2, 4])
def test_a_child_that_is_ahead_of_its_parent_waits_when_it_keeps_its_share(
    monkeypatch: pytest.MonkeyPatch, children: int
) -> None:
    kept = AHEAD // children
    told, telling = os.pipe()
    monkeypatch.setattr(every_core, "Queue", watched(telling))
    monkeypatch.setattr(layout, "BATCH_ENTRIES", SMALL)
    parts = [MemoryStore(made_up(SMALL * (kept + 4), size=1)) for _ in range(children)]
    ahead = Ahead()
    try:
        ahead.start(parts, Selection())
        waits: dict[int, list[bool]] = defaultdict(list)
        # A word that it began, one batch in the pipe, a share that is kept; the one after that has to wait.
        while sum(len(each) >= kept + 3 for each in waits.values()) < children:
            process, full = TOLD.unpack(os.read(told, TOLD.size))
            waits[process].append(full)
        assert [each[kept + 2] for each in waits.values()] == [True] * children
        assert not any(each[0] for each in waits.values())
        assert sum(batch.secrets for batch in ahead.batches()) == SMALL * (kept + 4) * children
    finally:
        ahead.close()
        os.close(told)
        os.close(telling)
