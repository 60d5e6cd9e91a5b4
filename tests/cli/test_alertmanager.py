"""The seven alerts of the procedures by way of the metrics: a real Prometheus scrapes a live server and
judges by the rules as they ship; a real Alertmanager tells people.

The configurations are those under ops/prometheus, with other ports, and seconds where they say minutes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.program import REGIONS, ROOT, SCRIPT, Machine
from tests.cli.seven import LATE, edit, provoke, put_right
from tests.operations.alerts.receiver import Receiver
from tests.patience import until
from tests.process import ServerProcess, free_port
from workers import metrics_server, names, paths

OPS = ROOT / "ops" / "prometheus"
RULES = "strongroom.rules.yml"
PAGER = {  # each with a label that says what it is about
    ("StrongroomBackupFailing", "late"),
    ("StrongroomBackupCorrupt", REGIONS[1]),
    ("StrongroomKeyRotationFailed", "full"),
    ("StrongroomUnauthorizedAccess", "ledger.broken"),
    ("StrongroomBeatSilent", "critical"),
}
PEOPLE = {
    ("StrongroomBackupSizeOdd", "metadata"),
    ("StrongroomBackupSlow", "metadata"),
    ("StrongroomKeyAging", "recovery"),
}
DEAD_HOST = {("StrongroomSilent", "critical")}
SHORT = {"30s": "500ms", "group_wait: 500ms": "group_wait: 0s", "5m": "1s"}
PATIENT = {"for: 2m": "for: 1s", "for: 5m": "for: 8s"}
"""What the rules about silence wait for. The seven wait for nothing, and are judged as they ship. On a busy
machine several scrapes in a row take too long, which is no dead host yet."""
LONG_SILENT = f"INSERT INTO heartbeats VALUES ('{names.BEAT}', unixepoch('subsec') - 600)"
HEARD_AGAIN = f"UPDATE heartbeats SET at = unixepoch('subsec') + 200 WHERE name = '{names.BEAT}'"

SERVER = [sys.executable, SCRIPT, "metrics", "--serve"]
EAGER = """
import runpy, sys
from workers.exporter import Exporter
keep = Exporter.keep_looking
Exporter.keep_looking = lambda self, every: keep(self, lambda settings: 2.0)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""The program, but that it checks the targets every two seconds: no setting allows less than a minute."""
BASELINE = ("strongroom_backup_duration_seconds", "strongroom_backup_secrets", "strongroom_backup_size_bytes")


class Watch:
    """Prometheus and Alertmanager over one server of metrics, and those whom they tell."""

    def __init__(self, machine: Machine, server: Sequence[str | Path], folder: Path) -> None:
        self.machine, self.folder = machine, folder
        self.people, self.pager = Receiver(), Receiver()
        self._server = server
        self._metrics, self._alertmanager = free_port(), free_port()

    def run(self) -> Iterator[Watch]:
        with ExitStack() as stack:
            stack.enter_context(self.people)
            stack.enter_context(self.pager)
            self._configure()
            at_home: dict[str, Any] = {"cwd": self.machine.home, "env": self.machine.env}
            self.host = ServerProcess(lambda _: self._server, port=self._metrics, user=at_home)
            stack.enter_context(self.host)
            token = paths.run_folder(self.machine.state) / metrics_server.GENERATED
            self.folder.joinpath("metrics-token").write_text(token.read_text())
            self._remember()
            alertmanager = ServerProcess(self._start_alertmanager, port=self._alertmanager)
            stack.enter_context(alertmanager)
            prometheus = ServerProcess(lambda _: self._start_prometheus(prometheus.port))
            stack.enter_context(prometheus)
            yield self

    def _configure(self) -> None:
        file = self.machine.path("strongroom.toml")
        metrics = f'[metrics]\nport = {self._metrics}\ncheck_targets = "1m"\n'
        file.write_text(file.read_text() + f'[alerts]\nkey_age = "365d"\n{metrics}{LATE}')
        changed = SHORT | {"9464": str(self._metrics), "9093": str(self._alertmanager)}
        changed |= {
            "http://127.0.0.1:9095/people": self.people.url,
            "http://127.0.0.1:9095/pager": self.pager.url,
        }
        self._copy("prometheus.yml", changed)
        self._copy("alertmanager.yml", changed)
        self._copy(RULES, PATIENT)

    def _copy(self, name: str, changed: dict[str, str]) -> None:
        text = (OPS / name).read_text()
        for before, after in changed.items():
            text = text.replace(before, after)
        self.folder.joinpath(name).write_text(text)

    def _remember(self) -> None:
        """Have Prometheus know two hours in which all was as now: what is odd is odd against those."""
        text, labels = "", f'policy="metadata",job="strongroom",instance="127.0.0.1:{self._metrics}"'
        families = text_string_to_metric_families(self.machine.ok("metrics").out)
        usual = {
            sample.name: sample.value
            for family in families
            for sample in family.samples
            if sample.name in BASELINE and sample.labels["policy"] == "metadata"
        }
        assert usual.keys() == set(BASELINE)
        end = time.time() - 3600
        for name, value in usual.items():
            text += f"# TYPE {name} gauge\n"
            text += "".join(f"{name}{{{labels}}} {value} {end - ago:.0f}\n" for ago in range(7200, 0, -10))
        file = self.folder / "past.txt"
        file.write_text(text + "# EOF\n")
        made = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(file), str(self.folder / "data")]
        subprocess.run(made, check=True, capture_output=True)

    def _start_prometheus(self, port: int) -> list[str]:
        config, data = self.folder / "prometheus.yml", self.folder / "data"
        return [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]

    def _start_alertmanager(self, folder: Path) -> list[str]:
        return [
            shutil.which("prometheus-alertmanager") or "alertmanager",
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={folder}",
            f"--web.listen-address=127.0.0.1:{self._alertmanager}",
            "--cluster.listen-address=",
        ]


def told(receiver: Receiver) -> list[dict[str, Any]]:
    """Return what a receiver was told last of each alert."""
    alerts = [one for post in list(receiver.posts) for one in post.document["alerts"]]
    return list({one["fingerprint"]: one for one in alerts}.values())


def abouts(alerts: Iterable[dict[str, Any]], status: str) -> set[tuple[str, str]]:
    """Return the alerts of a status, each with whatever it is about."""
    return {
        (one["labels"]["alertname"], about)
        for one in alerts
        for about in one["labels"].values()
        if one["status"] == status
    }


@pytest.fixture
def watch(configured: Machine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Watch]:
    if not (shutil.which("prometheus") and shutil.which("amtool")):
        pytest.skip("no prometheus or alertmanager on the path; 'make services' installs them")
    for policy in ("metadata", "full"):
        configured.ok("backup", "--policy", policy, "--force")
    folder = tmp_path / "watch"
    folder.mkdir()
    yield from Watch(configured, request.param, folder).run()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "watch",
    [
        pytest.param([sys.executable, "-c", EAGER, *SERVER[1:]], id="eager"),
        pytest.param(SERVER, id="as-shipped", marks=pytest.mark.long),
    ],
    indirect=True,
)
def test_alertmanager_tells_of_each_of_the_seven_of_a_silent_beat_and_of_a_dead_host_and_that_it_is_over(
    watch: Watch,
) -> None:
    people, pager = watch.people, watch.pager

    def are(status: str, *, other: str) -> bool:
        is_so = abouts(told(pager), status) >= PAGER and abouts(told(people), status) >= PEOPLE
        return is_so and not (PAGER & abouts(told(pager), other) or PEOPLE & abouts(told(people), other))

    provoke(watch.machine)
    edit(watch.machine, LONG_SILENT)
    until(lambda: are("firing", other="resolved"), what="the seven and the silent beat")
    assert not PEOPLE & abouts(told(pager), "firing"), "warnings wake nobody"
    put_right(watch.machine)
    edit(watch.machine, HEARD_AGAIN)
    until(lambda: are("resolved", other="firing"), what="their end")

    assert not DEAD_HOST & (abouts(told(pager), "firing") | abouts(told(pager), "resolved"))
    watch.host.kill()
    until(lambda: abouts(told(pager), "firing") >= DEAD_HOST, what="the dead host")
    watch.host.start()
    until(lambda: abouts(told(pager), "resolved") >= DEAD_HOST, what="its end")
    assert not any(b"CANARY" in post.body for post in (*people.posts, *pager.posts))
