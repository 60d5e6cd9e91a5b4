"""Traces reach a collector of OpenTelemetry; one that is away changes nothing for a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.config import load_settings
from strongroom.operations.engine.run_log import trace_id
from strongroom.state.store import RunStore
from tests.operations.world import make_world
from tests.process import free_port
from tests.workers.collector import Collector
from workers import telemetry


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        yield server


def handed_over(folder: Path, url: str) -> str:
    """Hand a backup's trace over; return the run."""
    world = make_world(folder)
    run = world.back_up()
    environment = {"STRONGROOM_STATE_DIR": str(folder)}
    if url:
        environment["STRONGROOM_TRACES__URL"] = url
    telemetry.hand_over(run, RunStore(world.database), load_settings(environment))
    return run.id


def test_a_run_is_handed_over_as_otlp_in_json(tmp_path: Path, collector: Collector) -> None:
    run = handed_over(tmp_path, collector.url)
    [(path, kind, document)] = collector.taken
    assert (path, kind) == ("/v1/traces", "application/json")
    assert document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] == trace_id(run)
    assert "CANARY" not in json.dumps(document)


def test_a_collector_that_is_away_is_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        handed_over(tmp_path, f"http://127.0.0.1:{free_port()}/v1/traces")
    assert [record.message for record in caplog.records] == ["trace-not-sent"]


def test_nobody_is_told_where_no_collector_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    handed_over(tmp_path, "")
    assert caplog.records == []
