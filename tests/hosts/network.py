"""A network of a host's own: it reaches the ports that it was told of on 127.0.0.1, and nothing else.

    with HostNetwork([6379, 5432]) as network:
        subprocess.run([*network.entering(), "strongroom", "runs"])

A process holds it: its main thread stays in a new network namespace, where it listens on these ports. Another
thread of it is back outside and hands on what comes in. So a host has no way to another host, none to a
server that its configuration does not name, and none at all once the process is ended.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final, Self

from tests.process import ROOT, ends_with_this

_NEW_NETWORK: Final = 0x40000000  # CLONE_NEWNET
_HERE: Final = Path("/proc/thread-self/ns/net")
_READY: Final = b"ready\n"


@cache
def can_be_made() -> bool:
    """Tell whether this is root on a kernel that gives out network namespaces."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    words = ["unshare", "--net", "ip", "link", "set", "lo", "up"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


class HostNetwork:
    """The network of one host, as long as it is not closed.

    Args:
        ports: where the servers listen, on 127.0.0.1 outside as inside.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        words = [*ends_with_this(), sys.executable, "-m", __name__, *map(str, ports)]
        self._process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == _READY, "the network was not made"

    @property
    def _namespace(self) -> Path:
        return Path(f"/proc/{self._process.pid}/ns/net")

    def entering(self) -> list[str]:
        """Return what a command begins with that runs in it."""
        return ["nsenter", f"--net={self._namespace}"]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread be in it: what it connects to is the host's own."""
        with _HERE.open("rb") as before, self._namespace.open("rb") as inside:
            _move(inside.fileno())
            try:
                yield
            finally:
                _move(before.fileno())

    def close(self) -> None:
        """Cut the host off. Its processes stay in what is left, which has no way out."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _libc(function: str, *given: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*given):
        raise OSError(ctypes.get_errno(), function)


def _move(namespace: int) -> None:
    _libc("setns", namespace, _NEW_NETWORK)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while content := await reader.read(1 << 16):
            writer.write(content)
            await writer.drain()
    with suppress(OSError):
        writer.close()


async def _relay(listeners: Sequence[socket.socket]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # the server is away
            writer.transport.abort()
            return
        await asyncio.gather(_pass_on(reader, ours), _pass_on(theirs, writer))

    servers = [await asyncio.start_server(connected, sock=listener) for listener in listeners]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _hold(ports: Sequence[int]) -> None:
    with _HERE.open("rb") as outside:
        _libc("unshare", _NEW_NETWORK)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        listeners = [socket.create_server(("127.0.0.1", port), backlog=128) for port in ports]

        def work() -> None:
            _move(outside.fileno())
            asyncio.run(_relay(listeners))

        worker = threading.Thread(target=work)
        worker.start()
        sys.stdout.buffer.write(_READY)
        sys.stdout.buffer.flush()
        worker.join()


if __name__ == "__main__":
    _hold([int(word) for word in sys.argv[1:]])
