"""Two beats: one sends, and the other takes over when it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from redis import Redis

from strongroom.state.store import RunStore
from tests.chaos.frozen import halt
from tests.chaos.wall_clock import MovedClock
from tests.patience import PATIENCE, until
from tests.process import free_port
from tests.redis_server import RedisServer
from workers import names


class Beats:
    """A broker, a state directory, and the beats that are started on them."""

    def __init__(self, redis: RedisServer, folder: Path) -> None:
        self.folder = folder
        self.client = Redis(unix_socket_path=str(redis.socket))
        self.store = RunStore(f"sqlite:///{folder / 'state.db'}")
        self.env = os.environ | {
            "STRONGROOM_STATE_DIR": str(folder),
            "STRONGROOM_BROKER__URL": redis.broker_url,
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def moved(self) -> MovedClock:
        """Return the clock of the beats that are started from now on."""
        clock = MovedClock(self.folder)
        self.env["LD_PRELOAD"] = str(clock.library)
        return clock

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            command = [sys.executable, "-P", "-m", "workers", names.BEAT]
            self.processes.append(
                subprocess.Popen(command, env=self.env, cwd=self.folder, stderr=log, stdin=subprocess.DEVNULL)
            )
        return self.processes[-1]

    def log(self, beat: subprocess.Popen[bytes]) -> str:
        return (self.folder / f"{self.processes.index(beat)}.log").read_text()

    def says(self, beat: subprocess.Popen[bytes], word: str) -> None:
        until(lambda: word in self.log(beat), what=lambda: f"{word}\n{self.log(beat)[-2000:]}")

    def sent(self, beat: subprocess.Popen[bytes]) -> int:
        """Count the messages that a beat sent."""
        messages = [json.loads(text) for text in self.client.lrange(names.CONTROL, 0, -1)]
        return sum(one["headers"]["origin"].partition("@")[0] == f"gen{beat.pid}" for one in messages)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.client.close()
        self.store.close()


@pytest.fixture
def beats(tmp_path: Path) -> Iterator[Beats]:
    with RedisServer(port=free_port()) as redis:
        made = Beats(redis, tmp_path)
        yield made
        made.close()


def test_a_second_beat_sends_nothing_while_the_first_lives_and_takes_over_when_it_is_killed(
    beats: Beats,
) -> None:
    first = beats.start()
    until(lambda: beats.sent(first), what="what the first sends")
    second = beats.start()
    beats.says(second, "beat-stands-by")
    before = beats.sent(first)
    until(lambda: beats.sent(first) > before, what="more of what the first sends")
    assert beats.sent(second) == 0

    os.kill(first.pid, signal.SIGKILL)
    until(lambda: beats.sent(second), what=lambda: f"what the second sends\n{beats.log(second)[-2000:]}")
    beats.says(second, "beat-took-over")

    second.terminate()
    second.wait(PATIENCE)
    assert beats.store.take_lease(names.BEAT, "a third", seconds=3600.0) == "a third", (
        "it gave the lease back"
    )


def test_a_beat_that_hung_does_not_send_beside_the_one_that_took_over(beats: Beats) -> None:
    first = beats.start()
    until(lambda: beats.sent(first), what="what the first sends")
    second = beats.start()
    halt(first.pid, beats.folder / "state.db")
    until(lambda: beats.sent(second), what=lambda: f"what the second sends\n{beats.log(second)[-2000:]}")

    os.kill(first.pid, signal.SIGCONT)
    beats.says(first, "beat-stands-by")


def test_a_beat_that_waits_for_the_answer_of_its_broker_ends_on_sigterm(beats: Beats) -> None:
    beat = beats.start()
    until(lambda: beats.sent(beat), what="what it sends")
    beats.client.client_pause(600_000, all=False)
    until(lambda: any("b" in one["flags"] for one in beats.client.client_list()), what="a message that waits")
    assert beat.poll() is None
    beat.terminate()
    assert beat.wait(PATIENCE) == 0


@pytest.mark.skipif(which("gcc") is None, reason="no gcc on the path, which makes a clock that can be moved")
def test_a_clock_that_was_days_ahead_for_a_moment_stops_nothing_of_what_beat_sends(beats: Beats) -> None:
    clock = beats.moved()
    beat = beats.start()
    until(lambda: beats.sent(beat), what="what it sends")
    for days in (2, -2):
        clock.advance(days * 86_400)
        before = beats.sent(beat)
        until(
            lambda before=before: beats.sent(beat) > before + 2, what=lambda: f"more of it\n{beats.log(beat)}"
        )
