"""A link of fixed rate and delay in front of a server on this host: what a distance does.

``python -m scripts.bench.link UPSTREAM_PORT BYTES_PER_SECOND SECONDS`` prints its own port and
serves until its standard input ends. Both directions share the rate, as all connections do.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

CHUNK = 32 * 1024
WINDOW = 4 * 1024 * 1024
"""Bytes of a connection that may be under way each way."""


class Link:
    """A rate that all connections share: each chunk waits for its turn on the wire."""

    def __init__(
        self, upstream: int, rate: float, delay: float, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._upstream = upstream
        self._rate = rate
        self._delay = delay
        self._monotonic = monotonic
        self._free_at = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection both ways until it ends."""
        await asyncio.sleep(self._delay)
        there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
        await asyncio.gather(self._carry(reader, back), self._carry(there, writer))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Carry what one side says to the other; what is under way does not wait for what is before it."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WINDOW // CHUNK)
        arriving = asyncio.create_task(self._arrive(under_way, sink))
        try:
            while chunk := await source.read(CHUNK):
                await under_way.put((self._turn(len(chunk)), chunk))
            await under_way.put((0.0, b""))
            await arriving
        except ConnectionError:
            pass
        finally:
            arriving.cancel()
            sink.close()

    async def _arrive(
        self, under_way: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
    ) -> None:
        while (due := await under_way.get())[1]:
            await asyncio.sleep(due[0] - self._monotonic())
            with contextlib.suppress(ConnectionError):
                sink.write(due[1])
                await sink.drain()

    def _turn(self, size: int) -> float:
        """Take the next place on the wire; return when it has arrived."""
        self._free_at = max(self._free_at, self._monotonic()) + size / self._rate
        return self._free_at + self._delay


@contextlib.contextmanager
def process(command: list[str], **how: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a server as long as the context lasts."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | how
    with subprocess.Popen(command, stdin=subprocess.PIPE, **quiet) as running:
        try:
            yield running
        finally:
            running.kill()


@contextlib.contextmanager
def linked(port: int, *, rate: float, delay: float) -> Iterator[int]:
    """Put a link of ``rate`` bytes a second and ``delay`` seconds each way before a port; yield its own."""
    command = [sys.executable, "-m", "scripts.bench.link", str(port), str(rate), str(delay)]
    with process(command, stdout=subprocess.PIPE) as link:
        assert link.stdout is not None
        yield int(link.stdout.readline())


async def _run(upstream: int, rate: float, delay: float) -> None:
    link = Link(upstream, rate, delay)
    server = await asyncio.start_server(link.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
