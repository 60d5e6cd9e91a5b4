"""Each process tells from its main loop that it works, and ends when told to, also as a container's first."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from strongroom.state.store import RunStore
from tests.patience import PATIENCE, until
from tests.process import ends_with_this, free_port
from tests.redis_server import RedisServer
from tests.workers.cluster import descendants
from workers import names, paths, status
from workers.consumer import StrictConsumer

ROLES = (names.CONTROL, names.TRANSFER, names.BEAT, names.WATCH, names.METRICS, names.PAGE)
"""Each kind of process: a pool of processes, one of threads, beat, and what serves HTTP."""
AS_FIRST = ["unshare", "--pid", "--fork", "--kill-child"]


class Host:
    """A state directory, the processes that are started on it, and what listens in systemd's place."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        self.folder = folder
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(str(folder / "notify"))
        self.systemd.settimeout(PATIENCE)
        self.env = {
            **os.environ,
            "STRONGROOM_STATE_DIR": str(self.state),
            "STRONGROOM_FLOWER__PORT": str(free_port()),
            "STRONGROOM_METRICS__PORT": str(free_port()),
            "STRONGROOM_PAGE__PORT": str(free_port()),
            "NOTIFY_SOCKET": str(folder / "notify"),
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, role: str, *around: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{role}.log").open("wb") as log:
            command = [*ends_with_this(), *around, sys.executable, "-P", "-m", "workers", role]
            process = subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stderr=log, stdout=log
            )
        self.processes.append(process)
        return process

    def log(self, role: str) -> str:
        return (self.folder / f"{role}.log").read_text()

    def healthy(self, *roles: str) -> tuple[int, str]:
        words = [sys.executable, "-P", "-m", "workers", "--healthy", *roles]
        told = subprocess.run(
            words, env=self.env, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return told.returncode, told.stdout + told.stderr

    def await_told(self, role: str, *, times: int) -> None:
        """Wait until a process has told so often that it works."""
        for _ in range(times):
            self.grow_old(role)
            until(
                lambda: time.time() - self.file(role).stat().st_mtime < 60,
                what=f"{role} to tell that",
            )

    def file(self, role: str) -> Path:
        return paths.pulse_folder(self.state) / socket.gethostname() / role

    def reported(self) -> set[str]:
        """Return the roles that 'cluster hosts' shows to live on this host."""
        store = RunStore(f"sqlite:///{self.state / 'state.db'}")
        try:
            found = store.processes()
        finally:
            store.close()
        return {process.role for process in found if process.lives and process.host == socket.gethostname()}

    def grow_old(self, role: str) -> None:
        """Have it be as long ago as it takes that the process told that it works."""
        until(self.file(role).exists, what=f"{role} to begin")
        long_ago = time.time() - status.SILENT_AFTER - 60
        os.utime(self.file(role), (long_ago, long_ago))

    def heard(self) -> bytes:
        return self.systemd.recv(100)

    def close(self) -> None:
        for process in self.processes:
            for pid in (*descendants(process.pid), process.pid):
                if process.poll() is None:
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        self.systemd.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    try:
        yield made
    finally:
        made.close()


def with_broker(host: Host, redis: RedisServer) -> None:
    host.env["STRONGROOM_BROKER__URL"] = redis.broker_url


def without_broker(host: Host) -> None:
    """Let the broker be away."""
    host.env["STRONGROOM_BROKER__URL"] = f"redis://127.0.0.1:{free_port()}/0"


def first_within(process: subprocess.Popen[bytes]) -> int:
    """Return what is the first process of the namespace that another made."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    (first,) = until(lambda: children.read_text().split(), what="the first process")
    assert Path(f"/proc/{first}/status").read_text().split("NSpid:")[1].split("\n")[0].split()[-1] == "1"
    return int(first)


def test_each_process_tells_that_it_works_and_ends_on_sigterm_as_the_first_of_a_container(host: Host) -> None:
    is_root = os.getuid() == 0  # which it takes to make a namespace
    redis = RedisServer(port=free_port()).start()
    try:
        with_broker(host, redis)
        started = {role: host.start(role, *(AS_FIRST if is_root else ())) for role in ROLES}
        pids = {role: first_within(process) if is_root else process.pid for role, process in started.items()}
        for role in ROLES:
            host.await_told(role, times=1)
        until(lambda: host.reported() >= set(ROLES), what="each process to report itself")
        for role in ROLES:
            os.kill(pids[role], signal.SIGSTOP)
            host.grow_old(role)
        code, told = host.healthy()
        assert code == 1
        assert [line.split(":")[0] for line in told.splitlines()] == sorted(ROLES)
        assert told.count("has not told for ") == told.count("start it again") == len(ROLES)

        for role in ROLES:
            os.kill(pids[role], signal.SIGCONT)
            host.await_told(role, times=1)
        assert host.healthy() == (0, "")

        for role in ROLES:
            os.kill(pids[role], signal.SIGTERM)
        for role, process in started.items():
            assert process.wait(PATIENCE) == 0, host.log(role)
            assert not host.file(role).exists(), "who ended as told is missed by nobody"
    finally:
        redis.close()


@pytest.mark.platform
def test_sigterm_ends_a_first_process_that_has_only_begun_to_start(host: Host) -> None:
    if os.getuid() != 0:
        pytest.skip("to start a process as the first of its namespace takes root")
    os.mkfifo(config := host.folder / "strongroom.toml")
    host.env["STRONGROOM_CONFIG"] = str(config)
    process = host.start(names.PAGE, *AS_FIRST)

    def reads() -> int | None:
        try:
            return os.open(config, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    os.close(until(reads, what="the process to read its configuration") or 0)
    os.kill(first_within(process), signal.SIGTERM)

    process.wait(PATIENCE)


def test_processes_that_wait_for_their_broker_work(host: Host) -> None:
    without_broker(host)
    waiting = (names.CONTROL, names.TRANSFER, names.BEAT)
    for role in waiting:
        host.start(role)
    for role in waiting:
        host.await_told(role, times=3)

    assert host.healthy() == (0, "")


def test_systemd_hears_that_a_process_is_ready_then_that_it_works_and_then_that_it_ends(host: Host) -> None:
    process = host.start(names.PAGE)

    assert host.heard() == b"READY=1\nWATCHDOG=1"
    assert host.heard() == b"WATCHDOG=1"
    process.send_signal(signal.SIGTERM)
    while (last := host.heard()) == b"WATCHDOG=1":
        pass
    assert last == b"STOPPING=1"


def test_what_was_never_started_is_not_healthy(host: Host) -> None:
    assert host.healthy()[0] == 1
    assert host.healthy("seal") == (1, "seal: is not started, or has stopped\n")


def test_a_wrong_configuration_makes_no_process_unhealthy(host: Host) -> None:
    with status.Pulse("seal", host.state) as pulse:
        pulse.beat()
        (broken := host.folder / "broken.toml").write_text("[[")
        host.env["STRONGROOM_CONFIG"] = str(broken)

        assert host.healthy("seal") == (0, "")


def test_a_pool_without_a_process_is_silent() -> None:
    told: list[str] = []
    app = SimpleNamespace(pulse=lambda: told.append("works"))

    def pulse(*codes: int | None) -> list[str]:
        pool = SimpleNamespace(
            _pool=SimpleNamespace(_pool=[SimpleNamespace(exitcode=code) for code in codes])
        )
        consumer: Any = SimpleNamespace(pool=pool, app=app)
        told.clear()
        StrictConsumer._pulse(consumer)
        return list(told)

    assert pulse(None, -9) == ["works"]
    assert pulse(1, -9) == []
    assert pulse() == []


def test_containers_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    folder = paths.pulse_folder(tmp_path)
    for name in ("gone", "here"):
        (folder / name).mkdir(parents=True)
        (folder / name / "seal").touch()
    long_ago = time.time() - status.FORGOTTEN_AFTER - 60
    for path in (folder / "gone" / "seal", folder / "gone"):
        os.utime(path, (long_ago, long_ago))

    with status.Pulse("seal", tmp_path):
        assert {host.name for host in folder.iterdir()} == {"here", socket.gethostname()}
