"""Every file that somebody deploys is judged by a tool, which finds it whole, and broken once it is broken.

A file that is added under ``ops`` has to be entered here, with its judge and with a break.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml
from cronsim import CronSimError

from strongroom.config import load_settings
from strongroom.errors import ConfigError
from strongroom.schedule import next_slot
from tests.helm import chart
from tests.patience import PATIENCE
from tests.process import ROOT
from tests.tooling.test_prometheus import names, panels

pytestmark = pytest.mark.platform
VALUES: Final = {
    "config": "[page]\nact = true\n",
    "page": {
        "act": True,
        "ingress": {"enabled": True, "className": "nginx", "host": "a.example.org", "tlsSecret": "world"},
    },
    "listen": {"tlsSecret": "served"},
    "metrics": {"serviceMonitor": {"enabled": True}},
}
NO_DEPLOYMENT: Final = ("ops/recover/", "ops/compose/config/.gitignore", "ops/helm/strongroom/.helmignore")
"""The recovery program, which has tests of its own, and what git and helm leave out."""


class Judged(NamedTuple):
    """How a file is judged: by what, and with which words of it changed to which others it is broken."""

    judge: Callable[[Path, Path], str]
    right: str
    wrong: str


def _run(program: str, *words: str | Path, folder: Path) -> str:
    """Return what a tool finds wrong; nothing if nothing is."""
    found = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"no {program} on the path")
    done = subprocess.run(
        [found, *words], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr or "refused"


def dockerfile(root: Path, file: Path) -> str:
    return _run("hadolint", file, folder=root)


def compose(root: Path, file: Path) -> str:
    return _run("docker-compose", "--file", file, "--profile", "*", "config", "--quiet", folder=root)


def units(root: Path, file: Path) -> str:
    """All units together, as systemd reads them: what they have in common is beside them."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on the path")
    folder = root / "ops" / "systemd"
    common = folder / "strongroom-.service.d"
    if (passwords := folder / "passwords.conf").exists():
        passwords.rename(common / passwords.name)
    each = [str(unit) for unit in folder.iterdir() if unit.is_file()]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *each],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return "\n".join(line for line in done.stderr.splitlines() if "is not executable" not in line)


def prometheus(root: Path, file: Path) -> str:
    text = file.read_text().replace("/etc/strongroom/prometheus", str(root / "ops" / "prometheus"))
    text = text.replace("/run/strongroom/metrics-token", str(root / "token"))
    for token in (root / "token", file.with_name("metrics-token")):
        token.write_text("CANARY-token")
    file.write_text(text)
    return _run("promtool", "check", "config", file, folder=root)


def rules(root: Path, file: Path) -> str:
    return _run("promtool", "check", "rules", file, folder=root)


def alertmanager(root: Path, file: Path) -> str:
    return _run("amtool", "check-config", file, folder=root)


def dashboard(root: Path, file: Path) -> str:
    """Its expressions as Prometheus parses them, over the metrics that there are."""
    shown = [expression.replace("$policy", ".*") for _, expression in panels(file)]
    asked = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(shown)]
    (made := root / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": asked}]}))
    known = names()
    missing = [text for text in shown if not any(name in text for name in known)]
    return "\n".join(missing) or _run("promtool", "check", "rules", made, folder=root)


def provisioning(root: Path, file: Path) -> str:
    """By hand: no package brings Grafana. The fields are those that its documents name as needed."""
    read = yaml.safe_load(file.read_text())
    [(kind, entries)] = [(key, value) for key, value in read.items() if isinstance(value, list)]
    needed = {"datasources": {"name", "type", "url", "access"}, "providers": {"name", "type", "options"}}
    lacks = [field for entry in entries for field in needed.get(kind, {kind}) - set(entry)]
    return "" if read["apiVersion"] == 1 and not lacks else f"{kind}: {lacks}"


def configuration(root: Path, file: Path) -> str:
    try:
        load_settings({"STRONGROOM_STATE_DIR": str(root / "state")}, file)
    except ConfigError as error:
        return error.message
    return ""


def crontab(root: Path, file: Path) -> str:
    for line in file.read_text().splitlines():
        fields = line.split(None, 6)
        if line.startswith("#") or "=" in fields[0]:
            continue
        try:
            next_slot(" ".join(fields[:5]), 0.0, "UTC")
        except CronSimError as error:
            return str(error)
    return ""


def python(root: Path, file: Path) -> str:
    return _run("ruff", "check", "--select", "F,E9", file, folder=root)


def helm(root: Path, file: Path) -> str:
    """Helm's own check, its rendering by the schema of the values, and the schemas of Kubernetes."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("Helm's library is for Linux on x86-64")
    folder = root / "ops" / "helm" / "strongroom"
    outside = yaml.safe_load((folder / "values-outside.yaml").read_text())
    for values in (VALUES, {**outside, "config": VALUES["config"]}):
        said: dict[str, Any] = {"chart": str(folder), "values": values}
        report = chart._helm(json.dumps({"do": "lint", **said}))
        wrong = [each["error"] for each in report["messages"] if each["severity"] > 1] + report["errors"]
        if wrong:
            return "\n".join(map(str, wrong))
        try:
            rendered = chart._helm(
                json.dumps({"do": "render", "namespace": "backup", "name": "strongroom", **said})
            )
        except chart.ChartRefused as refused:
            return str(refused)
        made = [
            each for name, text in rendered.items() if name.endswith(".yaml") for each in chart._all(text)
        ]
        if wrong := chart.faults([doc for doc in made if doc]):
            return "\n".join(wrong)
    return ""


CHART: Final = "ops/helm/strongroom"
UNIT: Final = "ops/systemd/strongroom"
FILES: Final = {
    "docker-compose.yml": Judged(compose, "networks: [inside]", "networks: [insde]"),
    "ops/Dockerfile": Judged(dockerfile, "WORKDIR /var", "WORKDIR var"),
    "ops/compose/demo/s3.Dockerfile": Judged(dockerfile, "FROM ", "FORM "),
    "ops/compose/setup.py": Judged(python, "def make_secrets", "def make_secret"),
    "ops/compose/config/strongroom.toml.example": Judged(configuration, "[targets.", "[target."),
    "ops/compose/demo/strongroom.toml": Judged(
        configuration, 'recipients = ["demo"]', 'recipients = ["dem"]'
    ),
    "ops/compose/demo/prometheus.yml": Judged(prometheus, "scrape_configs", "scrape_config"),
    "ops/compose/demo/alertmanager.yml": Judged(alertmanager, "receiver: ", "reciver: "),
    "ops/compose/demo/grafana/dashboards/strongroom.yml": Judged(provisioning, "options:", "option:"),
    "ops/compose/demo/grafana/datasources/prometheus.yml": Judged(provisioning, "url:", "uri:"),
    "ops/cron/strongroom-alerts": Judged(crontab, "*/30 ", "*/3O "),
    **{
        f"ops/grafana/{name}.json": Judged(dashboard, '"expr": "', '"expr": "sum(')
        for name in ("backups", "cluster", "readiness")
    },
    "ops/prometheus/prometheus.yml": Judged(prometheus, "rule_files: [strongroom", "rule_files: [strngroom"),
    "ops/prometheus/strongroom.rules.yml": Judged(rules, "expr: ", "expr: ("),
    "ops/prometheus/alertmanager.yml": Judged(alertmanager, "receiver: people", "receiver: peple"),
    f"{UNIT}-.service.d/strongroom.conf": Judged(units, "MemorySwapMax=0", "MemorySwapMx=0"),
    f"{UNIT}-alerts.service": Judged(units, "Type=oneshot", "Type=oneshoot"),
    f"{UNIT}-alerts.timer": Judged(units, "OnCalendar=*:0/30", "OnCalendar=half-hourly"),
    f"{UNIT}-beat.service": Judged(units, "Restart=always", "Restart=allways"),
    f"{UNIT}-flower.service": Judged(units, "KillMode=mixed", "KillMode=mxed"),
    f"{UNIT}-metrics.service": Judged(units, "WatchdogSec=", "WatchdogSecs="),
    f"{UNIT}-page.service": Judged(units, "ExecStart=/", "ExecStart=opt/"),
    f"{UNIT}-worker@.service": Judged(units, "[Service]", "[Servce]"),
    f"{UNIT}.target": Judged(units, "WantedBy=", "WantedFor="),
    "ops/systemd/passwords.conf": Judged(units, "\nLoadCredential=", "\nLoadCredentials="),
    f"{CHART}/Chart.yaml": Judged(helm, "\nversion: ", "\nversio: "),
    f"{CHART}/files/strongroom.rules.yml": Judged(rules, "expr: ", "expr: ("),
    f"{CHART}/values.yaml": Judged(helm, "replicas: 1", "replicas: one"),
    f"{CHART}/values-outside.yaml": Judged(helm, "beat: {enabled: false}", "beat: {enable: false}"),
    f"{CHART}/values.schema.json": Judged(helm, '"type": "object",', '"type": "objct",'),
    f"{CHART}/templates/NOTES.txt": Judged(helm, "{{- end }}", "{{- ed }}"),
    f"{CHART}/templates/_helpers.tpl": Judged(helm, "startupProbe:", "startProbe:"),
    f"{CHART}/templates/configuration.yaml": Judged(helm, "\ndata:", "\ndate:"),
    f"{CHART}/templates/network.yaml": Judged(helm, "policyTypes:", "policyType:"),
    f"{CHART}/templates/outside.yaml": Judged(helm, "concurrencyPolicy:", "concurrencePolicy:"),
    f"{CHART}/templates/processes.yaml": Judged(helm, "replicas: {{", "replica: {{"),
    f"{CHART}/templates/prometheus.yaml": Judged(helm, "{{- end }}", ""),
    f"{CHART}/templates/served.yaml": Judged(helm, "targetPort: http", "targetPrt: http"),
}


@cache
def tracked() -> tuple[str, ...]:
    words = ["git", "ls-files", "ops", "docker-compose.yml"]
    return tuple(subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())


def test_every_file_that_is_deployed_has_a_judge() -> None:
    assert {file for file in tracked() if not file.startswith(NO_DEPLOYMENT)} == set(FILES)


def copied(root: Path) -> Path:
    shutil.copytree(ROOT / "ops", root / "ops")
    shutil.copy(ROOT / "docker-compose.yml", root)
    return root


@pytest.fixture(scope="module")
def of_whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return what a file's judge says of it as it is: once of those that it judges together."""
    root, said = copied(tmp_path_factory.mktemp("whole")), {}

    def judged(name: str) -> str:
        judge = FILES[name].judge
        about = judge if judge in (units, helm) else name
        if about not in said:
            said[about] = judge(root, root / name)
        return said[about]

    return judged


@pytest.mark.parametrize("name", FILES)
def test_its_judge_finds_it_whole_and_finds_it_broken(
    name: str, of_whole: Callable[[str], str], tmp_path: Path
) -> None:
    given, file = FILES[name], copied(tmp_path) / name
    assert of_whole(name) == ""
    text = file.read_text()
    assert given.right in text
    file.unlink()  # it may be a link to another
    file.write_text(text.replace(given.right, given.wrong, 1))
    assert given.judge(tmp_path, file)
