"""A private PostgreSQL for tests: a real cluster on a Unix socket in a folder of its own."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import pytest

READY = b"database system is ready to accept connections"
START_SECONDS = 60.0
STOP_SECONDS = 20.0


class PostgresUnavailable(Exception):
    """There is no server program, or it did not start."""


def program(name: str) -> str | None:
    """Return a server program: on the path, or where Debian keeps them off it."""
    places = [os.environ.get("PATH", os.defpath), *_debian_folders()]
    return shutil.which(name, path=os.pathsep.join(places))


def _debian_folders() -> list[str]:
    found = Path("/usr/lib/postgresql").glob("*/bin")
    return [str(path) for path in sorted(found, key=lambda path: path.parent.name, reverse=True)]


def _other_user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as somebody who owns nothing else."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class PostgresServer:
    """One cluster and its server, started, killed and started again at will.

    Only the socket listens, in a 0700 folder with a short path: the kernel allows about a
    hundred bytes for one. ``fsync`` is off unless asked for; a killed *server* loses
    nothing by that, only a machine that loses power would.
    """

    def __init__(self, *, fsync: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sr-pg-"))
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.fsync = fsync
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._user = _other_user()
        if self._user:
            os.chown(self.folder, self._user["user"], self._user["group"])

    def url(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """Make an empty database and return its address."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, *, url: str | None = None) -> list[tuple[Any, ...]]:
        """Run a statement outside any transaction, as the cluster's owner."""
        with psycopg.connect(url or self.url("postgres"), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> Self:
        """Make the cluster, unless there is one; return when the server accepts connections."""
        if not self.data.exists():
            self._run("initdb", "-D", self.data, "-U", "postgres", *_CLUSTER)
        settings = {"listen_addresses": "", "unix_socket_directories": self.folder, "max_connections": 60}
        settings |= {"fsync": "on" if self.fsync else "off", "shared_buffers": "16MB", "log_timezone": "UTC"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [_required("postgres"), "-D", self.data, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **self._surroundings(),
        )
        self._await_ready(self.process)
        return self

    def _run(self, name: str, *words: str | Path) -> None:
        done = subprocess.run(
            [_required(name), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            **self._surroundings(),
        )
        if done.returncode:
            raise PostgresUnavailable(f"{name} failed: {done.stdout.decode(errors='replace')[-500:]}")

    def _surroundings(self) -> dict[str, Any]:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        return {"stdin": subprocess.DEVNULL, "cwd": self.folder, "env": environment} | self._user

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        ready = threading.Event()
        threading.Thread(target=self._keep_log, args=(process, ready), daemon=True).start()
        ready.wait(START_SECONDS)
        if READY not in self.log.read_bytes() or process.poll() is not None:
            self.kill()
            raise PostgresUnavailable(
                f"PostgreSQL did not start: {self.log.read_text(errors='replace')[-500:]}"
            )

    def _keep_log(self, process: subprocess.Popen[bytes], ready: threading.Event) -> None:
        # Read to the end, so that a full pipe never stops the server.
        assert process.stdout is not None
        with process.stdout, self.log.open("wb", buffering=0) as log:
            for line in process.stdout:
                log.write(line)
                if READY in line:
                    ready.set()
        ready.set()

    def kill(self) -> None:
        """End it at once (an immediate shutdown): the next start recovers from its log."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it in order, sessions included (a fast shutdown)."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(STOP_SECONDS)
        self.process = None

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# Whoever reaches the socket has passed the folder's mode, so nothing is gained by a password.
_CLUSTER = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")


def _required(name: str) -> str:
    found = program(name)
    if found is None:
        raise PostgresUnavailable(f"There is no {name} on the path.")
    return found


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL of this test run's own, shared: ask it for a database of your own."""
    if program("postgres") is None or program("initdb") is None:
        pytest.skip("no PostgreSQL server programs; 'make services' installs them")
    with PostgresServer() as server:
        yield server
