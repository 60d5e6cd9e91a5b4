"""A source that stays away: each failed backup is seen in Flower, Sentry, log, status and alerts."""

from __future__ import annotations

import base64
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import Machine
from tests.live.openbao import OpenBao
from tests.patience import PATIENCE, until
from tests.process import free_port, listens
from tests.workers.cluster import up
from tests.workers.sentry import Sink
from workers import flower, paths

CONFIG = """
[vaults.prod]
address = "{address}"
token_file = "{token}"

[sources.prod]
kind = "vault"
vault = "prod"

[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"

[targets.near]
kind = "directory"
path = "near"
region = "near"
create = true

[policies.hourly]
kind = "full"
source = "prod"
targets = ["near"]
recipients = ["recovery"]
single_recipient_reason = "a test"
schedule = "0 * * * *"
quorum = 1
regions = 1

[calendar]
prune = false
verification = false

[limits]
max_attempts = 2

[sentry]
dsn = "{dsn}"

[flower]
port = {port}
"""


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as server:
        yield server


@pytest.mark.timeout(900)
@pytest.mark.long  # tests/journeys holds the same of one failure, with each way out on
@pytest.mark.parametrize("times", [3, 12])
def test_each_failed_backup_is_a_failure_everywhere_and_all_are_one_alert(
    own_openbao: OpenBao, sink: Sink, tmp_path: Path, times: int
) -> None:
    own_openbao.token_file(tmp_path)
    machine = Machine(tmp_path / "machine")
    machine.ok("keys", "new", "--output", "recovery.key")
    port = free_port()
    machine.path("strongroom.toml").write_text(
        CONFIG.format(address=own_openbao.address, token=tmp_path / "token", dsn=sink.dsn, port=port)
    )
    own_openbao.kill()
    with up(machine, "--flower", forked=True) as running:  # the slot of the last hour is due at once
        for _ in range(times - 1):
            machine.ok("backup", "--cluster", "--policy", "hourly")
        until(lambda: listens(port), what="Flower")
        until(lambda: len(failures(machine, port)) == times, what="Flower's failures")
        until(lambda: len(events(sink)) == times, what="Sentry's events")
        shown, tasks = failures(machine, port), all_tasks(machine, port)
        said = running.errors()
    assert {task["name"] for task in shown} == {"strongroom.step.report"}
    assert all("hourly" in task["exception"] and "SourceUnavailable" in task["exception"] for task in shown)
    steps = [task for task in tasks if task["name"] == "strongroom.step.plan"]
    assert {task["state"] for task in steps} == {"RETRY"}

    assert {tuple(event["fingerprint"]) for event in events(sink)} == {("SourceUnavailable", "plan")}
    for event in events(sink):
        (newest, *_) = reversed(event["exception"]["values"])
        assert newest["type"] == "SourceUnavailable"
        assert any(frame["in_app"] for frame in newest["stacktrace"]["frames"])
    runs = {run["id"] for run in failed(machine)}
    assert {event["tags"]["run"] for event in events(sink)} == runs
    assert {(event["tags"]["policy"], event["tags"]["step"]) for event in events(sink)} == {
        ("hourly", "plan")
    }

    check_ins = [item for item in sink.items("check_in") if item["monitor_slug"] == "policy-hourly"]
    assert [item["status"] for item in check_ins] == ["error"] * times
    assert check_ins[0]["monitor_config"]["schedule"] == {"type": "crontab", "value": "0 * * * *"}

    lines = [line for line in log_lines(machine) if line["event"] == "run-failed"]
    assert {line["run"] for line in lines} == runs
    assert len(lines) == times
    assert {(line["level"], line["policy"], line["step"], line["error_class"]) for line in lines} == {
        ("error", "hourly", "plan", "SourceUnavailable")
    }
    assert len(re.findall(r"backup of 'hourly': FAILED at plan: SourceUnavailable", said)) == times

    alerts = json.loads(machine.run("alerts", "send", "--json").out)["alerts"]
    assert [alert["subject"] for alert in alerts if alert["kind"] == "backup.failed"] == ["hourly"]
    assert "CANARY" not in sink.text + said


def failed(machine: Machine) -> list[dict[str, Any]]:
    runs = machine.run("runs", "--json").document["runs"]
    return [run for run in runs if run["state"] == "failed"]


def events(sink: Sink) -> list[dict[str, Any]]:
    return [item for item in sink.items("event") if "exception" in item]


def log_lines(machine: Machine) -> list[dict[str, Any]]:
    """Every line of every log file; each is JSON."""
    files = (machine.state / "logs").glob("*.log")
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def failures(machine: Machine, port: int) -> list[dict[str, Any]]:
    return [task for task in all_tasks(machine, port) if task["state"] == "FAILURE"]


def all_tasks(machine: Machine, port: int) -> list[dict[str, Any]]:
    password = (paths.run_folder(machine.state) / flower.GENERATED).read_text().strip()
    token = base64.b64encode(f"strongroom:{password}".encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/tasks", headers={"Authorization": f"Basic {token}"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        found: dict[str, dict[str, Any]] = json.load(response)
    return list(found.values())
