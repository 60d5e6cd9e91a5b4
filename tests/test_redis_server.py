from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis

from tests.patience import until
from tests.process import ROOT, ServerUnavailable
from tests.redis_server import RedisServer
from tests.workers.cluster import is_alive


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A second server, to be killed: ``redis_server`` skips or fails where there is none."""
    with RedisServer(appendfsync="always") as own:
        yield own


def ask(server: RedisServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


def test_the_shared_server_answers_on_its_socket(redis_server: RedisServer) -> None:
    with ask(redis_server) as client:
        assert client.ping()


def test_only_its_owner_can_reach_the_socket(redis_server: RedisServer) -> None:
    assert redis_server.folder.stat().st_mode & 0o777 == 0o700
    assert redis_server.socket.stat().st_mode & 0o777 == 0o700


def test_what_was_written_outlives_a_kill(server: RedisServer) -> None:
    with ask(server) as client:
        client.set("kept", "yes")
    before = server.pid
    server.kill()
    server.start()
    with ask(server) as client:
        assert (client.get("kept"), server.pid == before) == ("yes", False)


def test_a_killed_server_is_gone(server: RedisServer) -> None:
    pid = server.pid
    server.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ServerUnavailable):
        _ = server.pid


def test_a_server_that_cannot_start_says_why(redis_server: RedisServer) -> None:
    with (
        pytest.raises(ServerUnavailable, match=r"(?s)did not start.*no-such-option"),
        RedisServer(no_such_option="1"),
    ):
        pass


ENDING = """
import os
from tests.redis_server import RedisServer
print(RedisServer().start().pid, flush=True)
os._exit(1)
"""


@pytest.mark.platform
@pytest.mark.skipif(not shutil.which("setpriv"), reason="no program that has a process end with another")
def test_a_server_ends_with_the_process_that_started_it_however_that_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDING], cwd=ROOT, capture_output=True, text=True, check=False
    )
    pid = int(done.stdout)
    until(lambda: not is_alive(pid), what="its end")
