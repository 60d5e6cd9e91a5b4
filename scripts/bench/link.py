"""A link of fixed rate and delay in front of a server on this host: what a distance does.

``python -m scripts.bench.link UPSTREAM_PORT BYTES_PER_SECOND SECONDS`` prints its own port and
serves until its standard input ends. Both directions share the rate, as all connections do.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

CHUNK = 32 * 1024


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
        try:
            while chunk := await source.read(CHUNK):
                await asyncio.sleep(self._turn(len(chunk)))
                sink.write(chunk)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()

    def _turn(self, size: int) -> float:
        """Take the next place on the wire; return how long until it is over."""
        now = self._monotonic()
        self._free_at = max(self._free_at, now) + size / self._rate
        return self._free_at - now + self._delay


async def _run(upstream: int, rate: float, delay: float) -> None:
    link = Link(upstream, rate, delay)
    server = await asyncio.start_server(link.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
