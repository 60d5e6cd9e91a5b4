"""The rules for Prometheus and the dashboards for Grafana: each proven by Prometheus' own tools, none about a
metric that there is not."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from strongroom.alert_kinds import KINDS
from strongroom.operations.judge.metrics import MEASURES

OPS = Path(__file__).resolve().parents[2] / "ops"
RULES = OPS / "prometheus" / "strongroom.rules.yml"
GUIDE = OPS.parent / "docs" / "how-to" / "scrape-metrics.md"
TESTS = Path(__file__).with_name("prometheus_rules.yml")
BOARDS = sorted((OPS / "grafana").glob("*.json"))

SEVEN = {
    "StrongroomBackupFailing": "critical",
    "StrongroomBackupCorrupt": "critical",
    "StrongroomKeyRotationFailed": "critical",
    "StrongroomUnauthorizedAccess": "critical",
    "StrongroomBackupSizeOdd": "warning",
    "StrongroomBackupSlow": "warning",
    "StrongroomKeyAging": "warning",
}
"""Those of the backup procedures."""
SILENCE = "StrongroomSilent"
OWN_METRIC = {
    *("backup.overdue", "backup.size", "replica.bad", "verification.late"),
    *("rotation.failed", "key.aging", "drill.failed", "state.unreachable", "beat.silent"),
}
"""Kinds of alerts whose cause a rule sees by another metric."""
NAME = re.compile(r"strongroom[a-z0-9_:]*")


def promtool(*words: str, given: str = "") -> None:
    done = subprocess.run(["promtool", *words], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def names() -> set[str]:
    """Return every name that Strongroom or a recording rule gives a series."""
    handed_out = {one.name + ("_total" if one.kind == "counter" else "") for one in MEASURES}
    return handed_out | {rule["record"] for rule in rules() if "record" in rule}


def panels(board: Path) -> Iterator[tuple[str, str]]:
    """Yield each expression of a dashboard with its panel, and those of its variables."""
    read = json.loads(board.read_text())
    for panel in read["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])
    for variable in read["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"].removeprefix("label_values(").split(",")[0]


def test_prometheus_proves_each_rule(tmp_path: Path) -> None:
    """What an alert says to do is that of its rule, and stands in no test again."""
    to_do = {rule["alert"]: rule["annotations"]["do"] for rule in rules() if "alert" in rule}
    given = yaml.safe_load(TESTS.read_text())
    for test in [asked for case in given["tests"] for asked in case["alert_rule_test"]]:
        for alert in test.get("exp_alerts", ()):
            do = to_do[test["alertname"]]
            for name, value in alert["exp_labels"].items():
                do = do.replace(f"{{{{ $labels.{name} }}}}", str(value))
            alert["exp_annotations"]["do"] = do
    (tmp_path / RULES.name).write_text(RULES.read_text())
    (tmp_path / TESTS.name).write_text(yaml.safe_dump(given))
    promtool("test", "rules", str(tmp_path / TESTS.name))


def test_each_alert_is_seen_to_fire_and_to_stay_quiet() -> None:
    asked = [one for test in yaml.safe_load(TESTS.read_text())["tests"] for one in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert {one["alertname"] for one in asked if one.get("exp_alerts")} == alerts
    assert {one["alertname"] for one in asked if not one.get("exp_alerts")} == alerts


def test_the_alerts_of_the_procedures_and_of_silence_are_there() -> None:
    found = {rule["alert"]: rule.get("labels", {}).get("severity") for rule in rules() if "alert" in rule}
    assert SEVEN.items() <= found.items()
    assert found[SILENCE] == "critical"


def test_each_rule_is_about_metrics_that_there_are() -> None:
    for rule in rules():
        assert set(NAME.findall(rule["expr"])) <= names(), rule
        for kinds in re.findall(r'kind=~"([^"]+)"', rule["expr"]):
            assert set(kinds.split("|")) <= KINDS.keys()


def kinds_of(expression: str, operator: str) -> set[str]:
    """Return the kinds of alerts that an expression takes, or leaves out."""
    patterns = re.findall(rf'kind{operator}"([^"]+)"', expression)
    return {kind for kind in KINDS for pattern in patterns if re.fullmatch(pattern, kind)}


def test_what_has_a_rule_of_its_own_is_not_passed_on_besides() -> None:
    told = {kind for rule in rules() for kind in kinds_of(rule["expr"], "=~")}
    (passes,) = [rule["expr"] for rule in rules() if rule.get("alert") == "StrongroomAlert"]
    assert len(told) > 6
    assert kinds_of(passes, "!~") == told | OWN_METRIC


def test_who_reads_how_to_start_prometheus_is_told_to_keep_as_much_as_the_rules_look_at() -> None:
    longest = max(int(days) for days in re.findall(r"\[(\d+)d\]", RULES.read_text()))
    for file in (OPS / "prometheus" / "prometheus.yml", GUIDE):
        (kept,) = re.findall(r"--storage\.tsdb\.retention\.time=(\d+)d", file.read_text())
        assert int(kept) > longest, file


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_each_panel_is_about_metrics_that_there_are(board: Path) -> None:
    for title, expression in panels(board):
        mentioned = set(NAME.findall(expression))
        assert mentioned, title
        assert mentioned <= names(), title


def test_each_metric_is_shown_somewhere() -> None:
    """What nobody looks at and no rule heeds is not worth its series."""
    shown = {name for board in BOARDS for _, expression in panels(board) for name in NAME.findall(expression)}
    heeded = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    assert names() - shown - heeded == set()


def test_the_guide_shows_the_examples_as_they_are() -> None:
    shown = [
        yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    ]
    assert len(shown) == 3
    files = ("prometheus.yml", "prometheus.yml", "alertmanager.yml")
    for block, file in zip(shown, files, strict=True):
        assert block.items() <= yaml.safe_load((OPS / "prometheus" / file).read_text()).items()
