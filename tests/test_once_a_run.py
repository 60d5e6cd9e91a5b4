"""A server that several processes of one run share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from tests.once_a_run import FOLDER, end_all, once_a_run
from tests.process import ROOT
from tests.redis_server import RedisServer

OTHER = """
from tests.once_a_run import once_a_run
from tests.redis_server import RedisServer
server = RedisServer()
print(once_a_run("redis", server, key="other")["key"], server.folder)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "servers"
    made.mkdir()
    monkeypatch.setenv(FOLDER, str(made))
    return made


def in_another_process() -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", OTHER], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
    )
    key, place = done.stdout.split()
    return key, place


def test_another_process_joins_the_server_that_runs_and_the_end_of_the_run_ends_it(folder: Path) -> None:
    first, second = RedisServer(), RedisServer()
    assert once_a_run("redis", first, key="first") == {"key": "first"}
    assert once_a_run("redis", second, key="second")["key"] == "first"
    assert in_another_process() == ("first", str(first.folder))
    assert second.url == first.url
    with Redis(unix_socket_path=str(second.socket)) as client:
        assert client.ping()

    second.close()  # a process that joined ends nothing
    with Redis(unix_socket_path=str(first.socket)) as client:
        assert client.ping()
    end_all(folder)
    assert not first.folder.exists()


def test_a_server_outlives_the_process_that_started_it(folder: Path) -> None:
    _, place = in_another_process()
    with Redis(unix_socket_path=f"{place}/redis.sock") as client:
        assert client.ping()
    end_all(folder)
    assert not Path(place).exists()


def test_the_end_of_one_run_leaves_the_servers_of_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once_a_run("redis", RedisServer())
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv(FOLDER, str(other))
    stays = RedisServer()
    once_a_run("redis", stays)
    end_all(folder)
    with Redis(unix_socket_path=str(stays.socket)) as client:
        assert client.ping()
    end_all(other)
    assert not stays.folder.exists()
