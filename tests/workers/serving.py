"""What is served over HTTP, in a thread of a test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from strongroom.config.served import Served
from strongroom.errors import ConfigError
from tests.patience import PATIENCE
from workers import http_server
from workers.http_server import Site


@contextmanager
def serving(settings: Served, site: Site) -> Iterator[str]:
    """Serve; give where."""
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        try:
            server, ends = http_server.listen(settings, site, section="page"), asyncio.Event()
        except ConfigError as error:
            begun.set_exception(error)
            return
        begun.set_result((asyncio.get_running_loop(), ends))
        await ends.wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    loop, ends = begun.result(PATIENCE)
    try:
        yield http_server.address(settings)
    finally:
        loop.call_soon_threadsafe(ends.set)
        thread.join()
