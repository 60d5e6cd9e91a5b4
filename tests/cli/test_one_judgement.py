"""A fresh installation with two things wrong: every view says each once, in the same words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from html import unescape

import pytest

from tests.cli.program import ROOT, Machine

PAGE = """
import json, sys
from strongroom.config import load_settings
from strongroom.config.live import LiveSettings
from strongroom.operations.show import overview
from strongroom.operations.show.frame import PageFacts
from workers.exporter import Exporter
exporter = Exporter(LiveSettings.fixed(load_settings()))
exporter.look()
found = exporter.current()
shown = PageFacts(facts=found.facts, limits=found.limits, alerts=found.alerts, version="1", looked_at=1.0)
sys.stdout.write(overview.alerts(shown).decode())
"""


@pytest.fixture
def fresh(machine: Machine) -> Machine:
    """A new installation: one of its policies was backed up, two were due, and a drill failed."""
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.ok("init", "--public-key", "recovery.key.pub", "--output", "strongroom.toml")
    machine.set("app/a", "CANARY-A")
    machine.ok("backup", "--policy", "daily-metadata")
    assert machine.run("drill", "single").code != 0
    machine.began_long_ago()
    return machine


def page_of(machine: Machine) -> str:
    env = machine.env | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PAGE], cwd=machine.home, env=env, capture_output=True, check=True
    )
    return unescape(re.sub(r"<[^>]+>", "", done.stdout.decode()))


def test_what_is_wrong_is_said_once_in_the_same_words_by_every_view_and_counts_alike(fresh: Machine) -> None:
    alerts = fresh.run("alerts", "--json").document["alerts"]
    told = [(one["key"], one["severity"], one["what"], one["do"]) for one in alerts]
    kinds = Counter(key.partition(":")[0] for key, *_ in told)
    assert (kinds["backup.overdue"], kinds["drill.failed"]) == (2, 1), told

    found = fresh.run("check", "--json").document["findings"]
    names = {"wrong": "critical", "warning": "warning"}
    judged = [one for one in found if one["state"] in names]
    keys = [f"{one['kind']}:{one['subject']}".rstrip(":") for one in judged]
    shown = [
        (key, names[one["state"]], one["what"], one["to_do"]) for key, one in zip(keys, judged, strict=True)
    ]
    assert sorted(shown) == sorted(told)

    page = page_of(fresh)
    for _, _, what, hint in told:
        assert (page.count(what), page.count(hint) >= 1) == (1, True), what

    counted: Counter[tuple[str, str]] = Counter()
    for kind, severity, value in re.findall(
        r'strongroom_alerts\{kind="([^"]+)",severity="([^"]+)"\} ([0-9.]+)', fresh.ok("metrics").out
    ):
        counted[kind, severity] += int(float(value))
    assert +counted == Counter((key.partition(":")[0], severity) for key, severity, *_ in told)

    said = fresh.run("check").out
    critical = sum(severity == "critical" for _, severity, *_ in told)
    assert f"({critical} critical" in said.splitlines()[0]
    assert json.dumps(alerts).count("CANARY") == 0
