"""Traces reach a collector of OpenTelemetry; one that is away changes nothing for a run."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from strongroom.config import load_settings
from strongroom.operations.runs.trace import trace_id
from strongroom.state.store import RunStore
from tests.operations.world import make_world
from tests.workers.cluster import free_port
from workers import traces


class Collector(HTTPServer):
    """Takes traces as a collector does, and keeps them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.taken: list[tuple[str, str, Any]] = []


class Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def handed_over(folder: Path, port: int | None) -> str:
    """Hand a backup's trace over; return the run."""
    world = make_world(folder)
    run = world.back_up()
    environment = {"STRONGROOM_STATE_DIR": str(folder)}
    if port:
        environment["STRONGROOM_TRACES__URL"] = f"http://127.0.0.1:{port}/v1/traces"
    traces.hand_over(run, RunStore(world.database), load_settings(environment))
    return run.id


def test_a_run_is_handed_over_as_otlp_in_json(tmp_path: Path, collector: Collector) -> None:
    run = handed_over(tmp_path, collector.server_port)
    [(path, kind, document)] = collector.taken
    assert (path, kind) == ("/v1/traces", "application/json")
    assert document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] == trace_id(run)
    assert "CANARY" not in json.dumps(document)


def test_a_collector_that_is_away_is_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        handed_over(tmp_path, free_port())
    assert [record.message for record in caplog.records] == ["trace-not-sent"]


def test_nobody_is_told_where_no_collector_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    handed_over(tmp_path, None)
    assert caplog.records == []
