"""A server program of a test's own: in a folder of its own, started, killed and started again at will."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, NoReturn, Self

from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = ROOT / "build" / "live"
"""Where ``scripts/install-live-servers`` puts the servers that have an environment of their own."""

POLL_SECONDS = 0.02


class ServerUnavailable(Exception):
    """The server's program is missing, or it did not start."""


_PORTS: Final = range(12_000, 32_000, 2)
"""The kernel gives none of these to a connection, or to who asks for any port: those begin at 32768.

OpenBao listens on the next one as well.
"""


def free_port() -> int:
    """Return a loopback port that nobody listens on, and that no other process of this run is told.

    What is told here is bound a second or two later, by a server that has to start first. A port of the
    kernel's own choosing would by then belong, now and then, to a server or a connection of another test.
    """
    with Path(tempfile.gettempdir(), "sr-next-port").open("a+") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        kept.seek(0)
        port = int(kept.read() or random.choice(_PORTS))
        while not (_is_free(port) and _is_free(port + 1)):
            port = _after(port)
        kept.truncate(0)
        kept.write(str(_after(port)))
        return port


def _after(port: int) -> int:
    return port + _PORTS.step if port < _PORTS[-1] else _PORTS[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def beside_python(program: str) -> Path | None:
    """Return a program that was installed into the environment that runs the tests."""
    found = Path(sys.executable).with_name(program)
    return found if found.exists() else None


def installed(*parts: str) -> Path | None:
    """Return a program that ``make live`` installed, e.g. ``installed("ministack", "bin", "ministack")``."""
    found = INSTALLED.joinpath(*parts)
    return found if found.exists() else None


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def ends_with_this() -> list[str]:
    """Return what a command begins with whose process is killed once this one ends, however it ends.

    A test that takes too long ends its process at once, and nothing that it started would be ended.
    """
    program = shutil.which("setpriv")
    # The kernel waits for the end of the thread that started it.
    lasts = threading.current_thread() is threading.main_thread()
    return [program, "--pdeathsig", "KILL"] if program and lasts else []


class ServerProcess:
    """One server: a command, started, killed and started again on the same port and folder.

    The folder is of mode 0700 and has a short path, so that a socket may lie in it: the kernel
    allows about a hundred bytes for one.

    Args:
        command: given the server's folder; returns program and arguments.
        ready: asked again and again until it is true; the port accepting connections, if left out.
        user: who runs it, as :class:`subprocess.Popen` takes it.
    """

    killing: ClassVar[signal.Signals] = signal.SIGKILL
    stopping: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(
        self,
        command: Callable[[Path], Sequence[str | Path]],
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        ready: Callable[[], bool] | None = None,
        prefix: str = "sr-live-",
        user: Mapping[str, Any] | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        self.log = self.folder / "server.log"
        self._command = command
        self._env = dict(env or {})
        self._ready = ready or (lambda: listens(self.port))
        self._user = dict(user or {})
        self._began = 0
        self._joined = False
        self.process: subprocess.Popen[bytes] | None = None

    def join(self, *, port: int, folder: Path) -> None:
        """Stand for a server that another process started. It is not ended from here."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.port, self.folder, self.log = port, folder, folder / "server.log"
        self._joined = True

    def start(self, *, outlives: bool = False) -> Self:
        """Start on the data that is there; return once it is ready.

        Args:
            outlives: whether it goes on when this process ends.
        """
        words = [str(word) for word in self._command(self.folder)]
        words = words if outlives else [*ends_with_this(), *words]
        with self.log.open("ab") as log:
            self._began = log.tell()
            self.process = subprocess.Popen(
                words, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, **self.surroundings()
            )
        self._await_ready(self.process)
        return self

    def surroundings(self) -> dict[str, Any]:
        """Return how its processes are started: where, with what environment, and as whom."""
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder)} | self._env
        return {"stdin": subprocess.DEVNULL, "cwd": self.folder, "env": env} | self._user

    def said(self, words: bytes) -> bool:
        """Tell whether it logged something since it was started last."""
        with self.log.open("rb") as log:
            log.seek(self._began)
            return words in log.read()

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._ready():
            if process.poll() is not None or time.monotonic() > deadline:
                self._did_not_start()
            time.sleep(POLL_SECONDS)
        if process.poll() is not None:  # somebody else answered
            self._did_not_start()

    def _did_not_start(self) -> NoReturn:
        self.kill()
        raise ServerUnavailable(f"it did not start: {self.log.read_text(errors='replace')[-2000:]}")

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self.process is None:
            raise ServerUnavailable("the server is not running")
        return self.process.pid

    def kill(self) -> None:
        """End it, and what it started, as a power cut would."""
        self._end(self.killing)

    def stop(self) -> None:
        """Ask it to end."""
        self._end(self.stopping)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)
        self.process = None

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        if not self._joined:
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


class HasServer:
    """What stands for a server: started, killed and ended with its process."""

    server: ServerProcess

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        self.server.start()
        return self

    def kill(self) -> None:
        """End it as a power cut would."""
        self.server.kill()

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.close()
