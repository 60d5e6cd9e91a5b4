"""A collector of OpenTelemetry that keeps what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Collector(HTTPServer):
    """Takes traces over HTTP. ``taken`` has of each its path, its type, and what it says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.taken: list[tuple[str, str, Any]] = []

    @property
    def url(self) -> str:
        """Where traces are taken."""
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    def spans(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every span with the process that performed it."""
        for _, _, document in list(self.taken):
            for resource in document["resourceSpans"]:
                about = {one["key"]: one["value"] for one in resource["resource"]["attributes"]}
                process = about.get("service.instance.id", {}).get("stringValue", "")
                yield from ((process, span) for scope in resource["scopeSpans"] for span in scope["spans"])


class _Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector in a thread."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
