"""A private PostgreSQL for tests: a real cluster on a Unix socket in a folder of its own."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest

from tests.once_a_run import once_a_run
from tests.patience import until
from tests.process import ServerProcess, ServerUnavailable

READY = b"database system is ready to accept connections"


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


class PostgresServer(ServerProcess):
    """One cluster and its server. A kill is an immediate shutdown: the next start recovers from its log.

    Only the socket listens. ``fsync`` is off unless asked for; a killed *server* loses nothing
    by that, only a machine that loses power would.
    """

    killing: ClassVar = signal.SIGQUIT
    stopping: ClassVar = signal.SIGINT

    def __init__(self, *, fsync: bool = False) -> None:
        user = _other_user()
        super().__init__(
            self._program,
            port=0,
            env={"LC_ALL": "C"},
            ready=lambda: self.said(READY),
            prefix="sr-pg-",
            user=user,
        )
        self.fsync = fsync
        if user:
            os.chown(self.folder, user["user"], user["group"])

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.folder / "data"

    def url(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """Make an empty database and return its address."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, *, url: str | None = None) -> list[tuple[Any, ...]]:
        """Run a statement outside any transaction, as the cluster's owner."""
        with psycopg.connect(url or self.url("postgres"), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def let_in(self, role: str, password: str) -> bool:
        """Say whether somebody is let in with a password."""
        try:
            psycopg.connect(host=str(self.folder), user=role, password=password, dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def ask_for_password(self, role: str) -> None:
        """Let a role in with its password alone from now on. Several processes may say so of one server."""
        rules = self.data / "pg_hba.conf"
        with rules.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            others = file.read()
            file.seek(0)
            file.write(f"local all {role} scram-sha-256\n{others}")
            file.flush()
            self.execute("SELECT pg_reload_conf()")
            until(lambda: not self.let_in(role, "CANARY-none"), what="the server to ask for the password")

    def _program(self, folder: Path) -> list[str | Path]:
        if not self.data.exists():
            self._run("initdb", "-D", self.data, "-U", "postgres", *_CLUSTER)
        settings = {"listen_addresses": "", "unix_socket_directories": folder, "max_connections": 200}
        settings |= {"fsync": "on" if self.fsync else "off", "shared_buffers": "16MB", "log_timezone": "UTC"}
        settings |= self.more()
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [_required("postgres"), "-D", self.data, *options]

    def more(self) -> dict[str, str | Path]:
        """Return settings beside those."""
        return {}

    def _run(self, name: str, *words: str | Path) -> None:
        done = subprocess.run(
            [_required(name), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            **self.surroundings(),
        )
        if done.returncode:
            raise ServerUnavailable(f"{name} failed: {done.stdout.decode(errors='replace')[-500:]}")


# Whoever reaches the socket has passed the folder's mode, so nothing is gained by a password.
_CLUSTER = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")


def _required(name: str) -> str:
    found = program(name)
    if found is None:
        raise ServerUnavailable(f"There is no {name} on the path.")
    return found


@pytest.fixture(scope="session")
def postgres_server() -> PostgresServer:
    """A real PostgreSQL of this test run's own, shared: ask it for a database of your own."""
    if program("postgres") is None or program("initdb") is None:
        pytest.skip("no PostgreSQL server programs; 'make services' installs them")
    server = PostgresServer()
    once_a_run("postgres", server)
    return server
