"""A private Redis for tests: a real server on a Unix socket in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

READY = b"Ready to accept connections"
START_SECONDS = 20.0
STOP_SECONDS = 20.0


class RedisUnavailable(Exception):
    """There is no server program on the path, or it did not start."""


def server_program() -> str | None:
    """Return the server on the path, Redis before Valkey."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """One server process and its data, started, killed and started again at will.

    The socket lies in a 0700 folder with a short path: the kernel allows about a hundred
    bytes for one, and a test's own folder is often longer.

    Args:
        port: listen on this port of the loopback address too; 0 for the socket alone.
        settings: more options as ``name=value``; underscores stand for dashes.
    """

    def __init__(self, *, port: int = 0, **settings: str) -> None:
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix="sr-redis-"))
        self.socket = self.folder / "redis.sock"
        self.log = self.folder / "server.log"
        self.settings = {"appendonly": "yes", "appendfsync": "everysec", "save": ""} | settings
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address as redis-py spells it."""
        return f"unix://{self.socket}"

    @property
    def broker_url(self) -> str:
        """The address as Celery spells it: the port if there is one, else the socket."""
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"redis+socket://{self.socket}"

    @property
    def pid(self) -> int:
        """The server's process id. Raises :class:`RedisUnavailable` when it is not running."""
        if self.process is None:
            raise RedisUnavailable("The test's Redis is not running.")
        return self.process.pid

    def start(self) -> Self:
        """Start on the data that is there; return when the server accepts connections."""
        program = server_program()
        if program is None:
            raise RedisUnavailable("There is no redis-server or valkey-server on the path.")
        self.process = subprocess.Popen(
            [program, *self._options()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
        self._await_ready(self.process)
        return self

    def _options(self) -> list[str]:
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder)}
        options |= {"unixsocket": str(self.socket), "unixsocketperm": "700", "daemonize": "no"}
        options |= {name.replace("_", "-"): value for name, value in self.settings.items()}
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        ready = threading.Event()
        reader = threading.Thread(target=self._keep_log, args=(process, ready), daemon=True)
        reader.start()
        ready.wait(START_SECONDS)
        if READY not in self.log.read_bytes() or process.poll() is not None:
            self.kill()
            raise RedisUnavailable(f"Redis did not start: {self.log.read_text(errors='replace')[-500:]}")

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
        """End it as a power cut would, without a last write."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order; what it held is saved."""
        self._end(signal.SIGTERM)

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
