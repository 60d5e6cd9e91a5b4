"""Worse than a killed process: one that comes back from the dead, and a power cut."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from strongroom.state.records import StepKind, StepState
from tests.chaos.attempt import stopped
from tests.chaos.frozen import freeze, is_writable, thaw, working
from tests.chaos.machine import GUARD_SECONDS, Machine, machine
from tests.chaos.monkey import Killed
from tests.chaos.plan import Kill, Phase, Progress, Victim
from tests.chaos.verdict import broken
from tests.redis_server import server_program
from tests.workers.cluster import until

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(server_program() is None, reason="no redis-server on the path; 'make services'"),
]

CONTAINERS = 24
SEALING = 2
"""Processes of the seal pool, as shipped: so many captures can be cut short at once."""


class Sandman:
    """Puts one sealing process to sleep in the middle of a capture."""

    def __init__(self, made: Machine, run: str) -> None:
        self._made = made
        self._run = run
        self.asleep: int | None = None
        self.piece = -1

    def act(self, progress: Progress) -> None:
        if self.asleep is None and 0.2 < progress.captured < 1:
            for pid, row in working(self._made.store, self._run, StepKind.CAPTURE).items():
                self._put_to_sleep(pid, row.step.piece)
                break

    def _put_to_sleep(self, pid: int, piece: int) -> None:
        still_at_it = freeze(pid, self._made.store, self._run, StepKind.CAPTURE)
        if still_at_it and is_writable(self._made.place.state / "state.db"):
            self.asleep, self.piece = pid, piece
        else:
            thaw(pid)


def test_a_worker_that_wakes_up_after_the_run_has_ended_leaves_nothing(tmp_path: Path) -> None:
    with machine(tmp_path / "machine", containers=CONTAINERS, seed=1) as made:
        run = made.submit()
        sandman = Sandman(made, run)
        ended = made.follow(run, sandman.act, pause=lambda _: 0.005)
        assert sandman.asleep is not None
        (slept,) = made.store.rows(run, StepKind.CAPTURE, piece=sandman.piece)
        assert (slept.state, slept.attempts) == (StepState.DONE, 2)

        thaw(sandman.asleep)

        until(lambda: "claim-lost" in made.cluster.log, what="the late worker", seconds=GUARD_SECONDS)
        assert stopped(made) == []
        assert broken(made.place, made.store, ended, made.secrets, _kills(1)) == []


class Blackout:
    """Kills every process of the machine at once, Redis included, and starts it again."""

    def __init__(self, made: Machine) -> None:
        self._made = made
        self.killed = 0

    def act(self, progress: Progress) -> None:
        if not self.killed and progress.uploaded > 0.4:
            self._cut()
            self._made.cluster.start()

    def _cut(self) -> None:
        cluster = self._made.cluster
        assert cluster.process is not None
        victims = [cluster.supervisor, *cluster.note()]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        cluster.process.wait()
        until(lambda: not cluster.left_over(), what="the end of all", seconds=GUARD_SECONDS)
        self.killed = len(victims)


def test_a_power_cut_in_the_middle_costs_no_more_than_what_was_being_captured(tmp_path: Path) -> None:
    with machine(tmp_path / "machine", containers=CONTAINERS, seed=2) as made:
        run = made.submit()
        blackout = Blackout(made)
        ended = made.follow(run, blackout.act)
        assert blackout.killed >= 10
        assert stopped(made) == []
        assert broken(made.place, made.store, ended, made.secrets, _kills(SEALING)) == []


def _kills(count: int) -> list[Killed]:
    kill = Kill(victim=Victim.SEAL_CHILD, phase=Phase.CAPTURE)
    return [Killed(kill=kill, at=0.0, processes=1)] * count
