"""An endpoint that takes what Sentry's SDK posts, as its server would."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Sink(ThreadingHTTPServer):
    """Keeps the envelopes that were posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[str] = []

    @property
    def dsn(self) -> str:
        return f"http://public@127.0.0.1:{self.server_address[1]}/1"

    @property
    def text(self) -> str:
        return "\n".join(self.bodies)

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Return the items of a kind, ``event`` or ``check_in``, in the order in which they came."""
        found = []
        for body in list(self.bodies):
            lines = body.splitlines()
            pairs = zip(lines[1::2], lines[2::2], strict=False)
            found += [json.loads(item) for head, item in pairs if json.loads(head)["type"] == kind]
        return found


class Handler(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.bodies.append(body.decode())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def sentry() -> Iterator[Sink]:
    """Serve inside the block."""
    with Sink() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
