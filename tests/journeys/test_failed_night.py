"""A night that fails is seen in status, log and alerts, is repaired as the runbook says, and all is green."""

from __future__ import annotations

import json
import re
from typing import Any

from strongroom.operations.errors import WarningsRaised
from tests.cli.program import Machine
from tests.journeys.house import section_of, to_two_targets, values, words_of
from tests.patience import until
from tests.workers.cluster import up

SECRETS = {"PAYMENTS_API_KEY": "CANARY-payments", "DATABASE_PASSWORD": "CANARY-database"}


def test_a_night_that_fails_is_seen_everywhere_and_then_repaired(machine: Machine) -> None:
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.ok("init", "--output", "strongroom.toml", "--public-key", "recovery.key.pub")
    to_two_targets(machine.path("strongroom.toml"), machine.home)
    for name, value in SECRETS.items():
        machine.set(name, value, "--tag", "priority=critical")
    with up(machine, forked=True) as running:  # the slots of the last night, week and month are due at once
        until(lambda: states(machine) == {"done": 3}, what="the first night")
        machine.ok("secrets", "delete", *SECRETS, "--force")
        machine.ok("backup", "--cluster", "--policy", "monthly-full")
        until(lambda: states(machine).get("failed"), what="the night that fails")

        [run] = [each for each in runs(machine) if each["state"] == "failed"]
        told = words_of(machine.run("runs", "show", run["id"]))
        assert "failed: there is no new backup, the last good one is untouched" in told
        assert f"remove the cause, then 'strongroom runs retry {run['id']}'" in told
        assert f"backup of 'monthly-full': FAILED at {run_step(machine, run['id'])}" in running.errors()
        assert re.search(r"backup of 'monthly-full': begins, \S+ is due", running.errors())
        assert "Next: " in running.answer(), "what runs next by itself"
        alerts = machine.run("alerts", "send")
        assert alerts.code not in (0, WarningsRaised.exit_code), alerts
        assert "monthly-full" in alerts.out
        assert run["id"] in alerts.out, alerts

        machine.ok("restore", "--full-restore", "--identity", "recovery.key")
        assert values(machine) == SECRETS
        assert "strongroom runs retry RUN" in section_of("symptoms.md", "A backup failed or is degraded")
        machine.ok("runs", "retry", run["id"])
        until(lambda: states(machine) == {"done": 4}, what="the run that is repaired")
    green = machine.run("alerts", "send", "--json")
    assert [alert for alert in green.document["alerts"] if alert["kind"] == "backup.failed"] == []
    assert [line["level"] for line in log(machine, run["id"]) if line["event"] == "run-done"] == ["info"]
    assert "CANARY" not in told + alerts.out + running.errors()


def run_step(machine: Machine, run: str) -> str:
    """Return the step at which the log says that a run failed: one line, at error, with what is needed."""
    [line] = [line for line in log(machine, run) if line["event"] == "run-failed"]
    assert (line["level"], line["policy"]) == ("error", "monthly-full")
    assert re.fullmatch(r"\w+", line["error_class"])
    return str(line["step"])


def runs(machine: Machine) -> list[dict[str, Any]]:
    """Return the backups; what else the calendar runs at once is not what is told of here."""
    found: list[dict[str, Any]] = machine.run("runs", "--json").document["runs"]
    return [run for run in found if run["kind"] == "backup"]


def states(machine: Machine) -> dict[str, int]:
    """Count the runs by their states."""
    all_states = [run["state"] for run in runs(machine)]
    return {state: all_states.count(state) for state in all_states}


def log(machine: Machine, run: str) -> list[dict[str, Any]]:
    files = (machine.state / "logs").glob("*.log")
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [line for line in lines if line.get("run") == run]
