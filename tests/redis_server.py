"""A private Redis for tests: a real server on a Unix socket in a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.process import ServerProcess, ServerUnavailable

READY = b"Ready to accept connections"


def server_program() -> str | None:
    """Return the server on the path, Redis before Valkey."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer(ServerProcess):
    """One server process and its data. A kill is a power cut: nothing is written last.

    Args:
        port: listen on this port of the loopback address too; 0 for the socket alone.
        settings: more options as ``name=value``; underscores stand for dashes.
    """

    def __init__(self, *, port: int = 0, **settings: str) -> None:
        super().__init__(
            self._program, port=port, env={"LC_ALL": "C"}, ready=lambda: self.said(READY), prefix="sr-redis-"
        )
        self.settings = {"appendonly": "yes", "appendfsync": "everysec", "save": ""} | settings

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        """The address as redis-py spells it."""
        return f"unix://{self.socket}"

    @property
    def broker_url(self) -> str:
        """The address as Celery spells it: the port if there is one, else the socket."""
        return f"redis://127.0.0.1:{self.port}/0" if self.port else f"redis+socket://{self.socket}"

    def _program(self, folder: Path) -> list[str]:
        program = server_program()
        if program is None:
            raise ServerUnavailable("There is no redis-server or valkey-server on the path.")
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(folder)}
        options |= {"unixsocket": str(self.socket), "unixsocketperm": "700", "daemonize": "no"}
        options |= {name.replace("_", "-"): value for name, value in self.settings.items()}
        return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]
