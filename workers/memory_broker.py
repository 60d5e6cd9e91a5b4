"""A broker in Python for demos on request (``--ephemeral``): it keeps nothing.

``python -m workers.memory_broker FILE`` serves on a free port of 127.0.0.1 and writes its
address to FILE. It is fakeredis' server with three repairs: Nagle's delay off (11 tasks a
second with it), writes buffered, and an error reply that does not close the connection.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any, Final

from fakeredis import TcpFakeServer
from redis.exceptions import RedisError

WARNING: Final = (
    "The broker is the ephemeral stand-in: queued work is lost when it stops, and any user of "
    "this machine can reach it. For anything but a demo, install redis-server or valkey-server."
)


def make_server() -> Any:
    """Return the repaired server, bound to a free port."""
    server = TcpFakeServer(("127.0.0.1", 0))
    server.RequestHandlerClass = _repaired(server.RequestHandlerClass)
    server.daemon_threads = True
    return server


def _repaired(handler: Any) -> Any:
    class Handler(handler):  # type: ignore[misc]
        disable_nagle_algorithm = True
        wbufsize = -1

        def handle(self) -> None:
            self.current_client.read_response = _or_error(self.current_client.read_response)
            super().handle()

    return Handler


def _or_error(read: Any) -> Any:
    def read_or_error(*args: Any, **kwargs: Any) -> Any:
        try:
            return read(*args, **kwargs)
        except RedisError as error:
            return error

    return read_or_error


def serve(address_file: Path) -> None:
    """Serve until told to stop. The address file appears once connections are accepted."""
    server = make_server()
    provisional = address_file.with_suffix(".new")
    provisional.write_text(f"redis://127.0.0.1:{server.server_address[1]}/0\n")
    provisional.replace(address_file)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.serve_forever()
    finally:
        address_file.unlink(missing_ok=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
