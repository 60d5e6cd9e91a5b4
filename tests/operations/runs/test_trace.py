"""One trace a backup, whichever processes did its steps; and nothing of what it holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as altered
from sqlalchemy import text

from strongroom.operations.engine import run_log
from strongroom.operations.engine.run_log import as_trace, trace_id
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import Run, RunState
from strongroom.state.store import RunStore
from tests.operations.world import POLICY, REGIONS, World, made_up, make_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def traced(world: World, run: Run) -> dict[str, Any]:
    return as_trace(run, RunStore(world.database).rows(run.id), version="1.2.3")


def spans(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        span
        for resource in document["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def attributes(thing: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: next(iter(one["value"].values())) for one in thing["attributes"]}


def test_a_backup_is_one_trace_with_a_span_for_each_step_of_each_process(world: World) -> None:
    run = world.back_up()
    with RunStore(world.database)._database.writing() as conn:
        conn.execute(text("UPDATE steps SET owner = 'far:7:transfer' WHERE kind = 'upload'"))
    document = traced(world, run)
    found = spans(document)
    rows = RunStore(world.database).rows(run.id)
    assert {span["traceId"] for span in found} == {trace_id(run.id)}
    assert len({span["spanId"] for span in found}) == len(found) == len(rows) + 1
    root, *steps = found
    assert (root["name"], attributes(root)["strongroom.policy"]) == (f"backup {POLICY}", POLICY)
    assert {span["parentSpanId"] for span in steps} == {root["spanId"]}
    begins, ends = int(root["startTimeUnixNano"]), int(root["endTimeUnixNano"])
    assert all(begins <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) for span in steps)
    assert ends - begins == int(run.finished_at * 1e9) - int(run.created_at * 1e9)  # type: ignore[operator]
    [far] = [one for one in document["resourceSpans"] if "far" in json.dumps(one["resource"])]
    assert attributes(far["resource"])["strongroom.pool"] == "transfer"
    uploads = [attributes(span)["strongroom.target"] for span in spans({"resourceSpans": [far]})]
    assert set(uploads) == set(REGIONS)
    assert traced(world, run) == document, "told twice it is the same trace"


def test_what_failed_is_told_by_its_class_and_nothing_names_a_secret(world: World) -> None:
    named = [altered(secret, name=f"CANARY-{secret.name}") for secret in made_up(5)]
    canaries = replace(world, source=MemoryStore(named, name="vault"))
    run = canaries.back_up()
    with RunStore(world.database)._database.writing() as conn:
        conn.execute(text("UPDATE steps SET state = 'missed', error = 'TargetUnavailable: CANARY-name'"))
    failed = altered(run, state=RunState.FAILED, error="upload/0/us: TargetUnavailable: CANARY-name")
    document = traced(canaries, failed)
    assert "CANARY" not in json.dumps(document)
    statuses = [span["status"] for span in spans(document)]
    assert all(status == {"code": 2, "message": "TargetUnavailable"} for status in statuses[1:])


def test_a_run_of_very_many_steps_says_how_many_it_leaves_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.back_up()
    steps = len(RunStore(world.database).rows(run.id))
    monkeypatch.setattr(run_log, "MOST", 3)
    found = spans(traced(world, run))
    assert len(found) == 4
    assert attributes(found[0])["strongroom.steps_left_out"] == str(steps - 3)
