"""HSM keys in real Celery workers, of processes and of threads at once, while the token comes and goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from celery.result import AsyncResult  # type: ignore[import-untyped]
from redis import Redis

from strongroom.keys.pkcs11.session import PinFile
from tests.live.keys.celery_app import AWAY, WORK
from tests.live.keys.conftest import Hsm
from tests.live.keys.stress import Work
from tests.live.softhsm import SoftHsm
from tests.patience import PATIENCE, until
from tests.redis_server import RedisServer

PROCESSES, THREADS, TASKS = 3, 4, 1000


def describe(hsm: Hsm, folder: Path) -> Path:
    token = hsm.token()
    assert isinstance(token._pin, PinFile)
    stanzas = msgspec.to_builtins(Work(token).stanzas)
    named = {"module": str(token.module), "label": token.label, "pin": str(token._pin._path)}
    path = folder / "work.json"
    path.write_text(json.dumps({**named, "stanzas": stanzas}))
    return path


@contextmanager
def worker(pool: str, many: int, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    words = ["-m", "celery", "-A", "tests.live.keys.celery_app", "worker", "-P", pool, "-c", str(many)]
    quiet = ["-Q", pool, "-n", pool, "-l", "WARNING", "--without-gossip", "--without-mingle"]
    process = subprocess.Popen([sys.executable, *words, *quiet], env=env)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def take_out(softhsm: SoftHsm, redis: Redis, send: Callable[[], list[AsyncResult]]) -> list[AsyncResult]:
    """Take every token away until somebody has missed it. All that was sent before may be done by now."""
    plug = softhsm.unplug()
    try:
        more = send()
        until(lambda: redis.get(AWAY), what="somebody who misses the token")
        return more
    finally:
        plug()


def open_all(env: dict[str, str], monkeypatch: pytest.MonkeyPatch, many: int = TASKS) -> list[AsyncResult]:
    from tests.live.keys.celery_app import app

    monkeypatch.setitem(app.conf, "broker_url", env["STRONGROOM_TEST_BROKER"])
    monkeypatch.setitem(app.conf, "result_backend", env["STRONGROOM_TEST_BROKER"])
    return [
        app.send_task("open", (number,), queue=("prefork", "threads")[number % 2]) for number in range(many)
    ]


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(redis_server.socket)) as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.fixture
def env(hsm: Hsm, redis_server: RedisServer, tmp_path: Path) -> dict[str, str]:
    """What a worker is told: where its work comes from, and which token it opens with."""
    told = {WORK: str(describe(hsm, tmp_path)), "STRONGROOM_TEST_BROKER": redis_server.broker_url}
    return {**os.environ, **told}


@pytest.mark.long  # test_hsm_trouble.py holds both of forks and threads without Celery
def test_a_thousand_unwraps_by_both_pools_are_right_though_the_token_is_taken_out(
    hsm: Hsm, softhsm: SoftHsm, env: dict[str, str], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with worker("prefork", PROCESSES, env) as processes, worker("threads", THREADS, env) as threads:
        sent = open_all(env, monkeypatch)
        assert sent[50].get(timeout=PATIENCE)[0]  # they are at work
        if hsm.name == "SoftHSM":
            sent += take_out(softhsm, redis, lambda: open_all(env, monkeypatch, 50))
        done = [each.get(timeout=PATIENCE) for each in sent]
        assert (processes.poll(), threads.poll()) == (None, None)

    assert [right for right, _ in done] == [True] * len(sent)
    by = {pid for _, pid in done}
    assert threads.pid in by
    assert len(by) == PROCESSES + 1  # nobody crashed and was replaced
