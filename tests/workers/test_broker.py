"""The embedded broker on each real server there is; a dead one is noticed at once."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis import Redis

from strongroom.config import BrokerSettings, load_settings
from strongroom.errors import ConfigError
from tests.patience import PATIENCE, until
from tests.process import free_port
from tests.redis_server import RedisServer
from workers import broker, paths
from workers.cluster_facts import cluster_facts
from workers.errors import BrokerUnavailable


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def answers(url: str) -> bool:
    with suppress(BrokerUnavailable):
        broker.check(url)
        return True
    return False


def servers() -> list[Path]:
    on_path = [Path(found) for name in ("redis-server", "valkey-server") if (found := shutil.which(name))]
    return on_path + broker._in_wheel()


@pytest.mark.parametrize("program", servers(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_server_serves_on_a_private_socket_and_keeps_its_data_over_a_kill(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "find_server", lambda: program)
    settings = load_settings({"STRONGROOM_STATE_DIR": str(tmp_path)})
    url = broker.broker_url(settings)
    client = Redis(unix_socket_path=str(paths.broker_socket(tmp_path)))

    with running(broker.embedded_command(tmp_path)) as process:
        until(lambda: answers(url), what="the server")
        client.lpush("queue", "message")
        until(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0, what="the write")
        process.kill()
    with running(broker.embedded_command(tmp_path)):
        until(lambda: answers(url), what="the server again")
        assert client.lrange("queue", 0, -1) == [b"message"]
    client.close()

    folder = paths.broker_socket(tmp_path).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(paths.broker_data(tmp_path).stat().st_mode) == 0o700


def test_a_server_on_the_path_comes_before_the_one_of_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    found = broker.find_server()
    assert found is not None
    if on_path := shutil.which("redis-server"):
        assert found == Path(on_path)

    monkeypatch.setenv("PATH", "/nonexistent")
    in_wheel = broker.find_server()
    assert in_wheel is not None
    assert in_wheel.name == "valkey-server"


def test_a_server_that_is_too_old_or_does_not_run_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.7 sha=0'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert broker.version_of(old) == (5, 0)
    assert broker.find_server() != old


def test_without_any_server_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "find_server", lambda: None)

    with pytest.raises(ConfigError) as caught:
        broker.embedded_command(tmp_path)

    assert "--ephemeral" in caught.value.hint


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(ConfigError, match="not a directory of this user's own"):
        paths.private_folder(tmp_path)


def test_a_link_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to("elsewhere")

    with pytest.raises(ConfigError):
        paths.private_folder(tmp_path / "run")


def test_a_state_directory_with_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)

    assert len(os.fsencode(paths.broker_socket(deep))) <= paths.SOCKET_LIMIT
    assert paths.broker_socket(deep) == paths.broker_socket(deep)
    assert paths.broker_socket(deep) != paths.broker_socket(tmp_path / ("e" * 120))


def test_the_stand_in_serves_and_takes_its_address_away(tmp_path: Path) -> None:
    settings = load_settings({"STRONGROOM_STATE_DIR": str(tmp_path)})
    file = paths.broker_file(tmp_path)

    with running(broker.ephemeral_command(tmp_path)) as process:
        until(file.exists, what="the address")
        url = broker.broker_url(settings)
        assert url.startswith("redis://127.0.0.1:")
        broker.check(url, seconds=PATIENCE)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)

    assert not file.exists()


# -- a dead broker -------------------------------------------------------------


def test_a_refused_connection_is_said_at_once() -> None:
    assert_unavailable(f"redis://127.0.0.1:{free_port()}/0")


def test_a_missing_socket_is_said_at_once(tmp_path: Path) -> None:
    assert_unavailable(f"redis+socket://{tmp_path}/none.sock")


def test_a_server_that_accepts_and_never_answers_is_asked_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert_unavailable(f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        server.setblocking(False)
        server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            server.accept()


def test_an_answer_that_is_not_a_brokers_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer_as_http, args=(server,))
        thread.start()
        assert_unavailable(f"redis://127.0.0.1:{server.getsockname()[1]}/0")
        thread.join()


def answer_as_http(server: socket.socket) -> None:
    with server.accept()[0] as client:
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")


def assert_unavailable(url: str) -> None:
    with pytest.raises(BrokerUnavailable, match="does not answer"):
        broker.check(url)


@pytest.mark.parametrize("state", ["gone", "frozen"])
def test_a_shell_that_submits_to_a_dead_broker_asks_it_once(tmp_path: Path, state: str) -> None:
    program = (
        "import sys\n"
        "from tasks.backup import metadata_backup\n"
        "from workers.errors import BrokerUnavailable\n"
        "asked = []\n"
        "sys.addaudithook(lambda event, _: asked.append(event) if event == 'socket.connect' else None)\n"
        "try:\n"
        "    metadata_backup.delay(policy='daily-metadata')\n"
        "except BrokerUnavailable as error:\n"
        "    print(error.exit_code, error.hint)\n"
        "    assert len(asked) == 1, asked\n"
    )
    with running(broker.embedded_command(tmp_path)) as server:
        until(lambda: answers(f"redis+socket://{paths.broker_socket(tmp_path)}"), what="the server")
        if state == "gone":
            server.kill()
            server.wait()
        else:
            server.send_signal(signal.SIGSTOP)
        told = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "STRONGROOM_STATE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("60 Start it with 'strongroom up'"), told.stderr


def test_a_password_comes_from_its_file_and_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("CANARY-broker/p@ss\n")
    settings = replace(
        load_settings({"STRONGROOM_STATE_DIR": str(tmp_path)}),
        broker=BrokerSettings(url="rediss://worker@redis.example.org/0", password_file=secret),
    )

    url = broker.broker_url(settings)

    assert url == "rediss://worker:CANARY-broker%2Fp%40ss@redis.example.org/0"
    assert broker.without_credentials(url) == "rediss://redis.example.org/0"


def test_a_password_file_that_is_not_there_is_named_and_nobody_is_told_to_start_the_broker(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "password"
    settings = replace(
        load_settings({"STRONGROOM_STATE_DIR": str(tmp_path)}),
        broker=BrokerSettings(url="rediss://worker@redis.example.org/0", password_file=secret),
    )

    found = cluster_facts(settings)

    assert f"broker.password_file '{secret}' cannot be read" in found.away
    assert "Write the password" in found.mend


def test_tls_always_checks_the_certificate() -> None:
    options = broker.tls_options(BrokerSettings(url="rediss://redis.example.org/0"))

    assert options is not None
    assert options["ssl_cert_reqs"].name == "CERT_REQUIRED"
    assert options["ssl_check_hostname"] is True
    assert broker.tls_options(BrokerSettings(url="redis://redis.example.org/0")) is None


@pytest.mark.parametrize(("command", "said"), [("CONFIG SET maxmemory 1", "is full"), ("", "replica")])
def test_a_broker_that_takes_nothing_more_is_told_as_that_and_not_as_gone(
    tmp_path: Path, command: str, said: str
) -> None:
    program = (
        "from tasks.backup import metadata_backup\n"
        "from workers.errors import BrokerUnavailable\n"
        "try:\n"
        "    metadata_backup.delay(policy='daily-metadata')\n"
        "except BrokerUnavailable as error:\n"
        "    print(error.message)\n"
    )
    with RedisServer(port=free_port()) as server:
        with Redis(unix_socket_path=str(server.socket)) as client:
            client.execute_command(*(command or f"REPLICAOF 127.0.0.1 {free_port()}").split())
        told = subprocess.run(
            [sys.executable, "-c", program],
            env={
                **os.environ,
                "STRONGROOM_STATE_DIR": str(tmp_path),
                "STRONGROOM_BROKER__URL": server.broker_url,
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert said in told.stdout, told.stderr
