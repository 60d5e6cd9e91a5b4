"""Worse than a killed process: one that comes back from the dead, a power cut, and a state
database that is gone for a while."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from strongroom.state.records import StepKind, StepState
from tests.chaos.attempt import stopped
from tests.chaos.frozen import is_writable, thaw, working
from tests.chaos.machine import GUARD_SECONDS, Machine, machine
from tests.chaos.monkey import Killed
from tests.chaos.plan import Kill, Phase, Progress, Victim
from tests.chaos.verdict import broken
from tests.patience import until
from tests.postgres import PostgresServer, program
from tests.redis_server import server_program
from tests.workers.cluster import descendants

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
        if self.asleep is not None or progress.captured == 1:
            return
        main = self._made.cluster.pid("seal")
        for pid in sorted(descendants(main)) if main else ():
            if self.asleep is None:
                self._put_to_sleep(pid)

    def _put_to_sleep(self, pid: int) -> None:
        """Stop it, and look then what it is at: on a busy machine who looks first comes too late."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        row = working(self._made.store, self._run, StepKind.CAPTURE).get(pid)
        if row is not None and is_writable(self._made.place.state / "state.db"):
            self.asleep, self.piece = pid, row.step.piece
        else:
            thaw(pid)


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


class Outage:
    """Ends the database server twice at once, as a crash of it would, and starts it again."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.at = [0.2, 0.6]

    def act(self, progress: Progress) -> None:
        if self.at and progress.uploaded >= self.at[0]:
            self.at.pop(0)
            self._server.kill()
            self._server.start()


def _wake_up_late(root: Path) -> None:
    with machine(root, containers=4 * CONTAINERS, seed=1) as made:
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


def _cut_the_power(root: Path) -> None:
    with machine(root, containers=CONTAINERS, seed=2) as made:
        blackout = Blackout(made)
        ended = made.follow(made.submit(), blackout.act)
        assert blackout.killed >= 10
        assert stopped(made) == []
        assert broken(made.place, made.store, ended, made.secrets, _kills(SEALING)) == []


def _crash_the_database(root: Path) -> None:
    with (
        PostgresServer(fsync=True) as server,
        machine(root, containers=CONTAINERS, seed=3, database=server.new_database()) as made,
    ):
        outage = Outage(server)
        ended = made.follow(made.submit(), outage.act)
        assert outage.at == []
        assert stopped(made) == []
        assert broken(made.place, made.store, ended, made.secrets, _kills(2 * SEALING)) == []


def _kills(count: int) -> list[Killed]:
    kill = Kill(victim=Victim.SEAL_CHILD, phase=Phase.CAPTURE)
    return [Killed(kill=kill, at=0.0, processes=1)] * count


def test_a_worker_that_wakes_up_after_the_run_has_ended_leaves_nothing(tmp_path: Path) -> None:
    _wake_up_late(tmp_path / "machine")


@pytest.mark.long
def test_a_power_cut_in_the_middle_costs_no_more_than_what_was_being_captured(tmp_path: Path) -> None:
    _cut_the_power(tmp_path / "machine")


@pytest.mark.long
@pytest.mark.skipif(program("postgres") is None, reason="no PostgreSQL server; 'make services' installs one")
def test_a_state_database_that_is_gone_for_a_while_only_costs_time(tmp_path: Path) -> None:
    _crash_the_database(tmp_path / "machine")
