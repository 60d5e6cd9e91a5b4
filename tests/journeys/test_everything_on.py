"""Every optional part on, in one cluster: each alert reaches people everywhere, and so does that it is over.

No part may silence another. What a library adds to a message, such as a monitor of Sentry's, is in here too.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.chaos.frozen import halt
from tests.cli.conftest import stock
from tests.cli.program import ROOT, Machine
from tests.operations.alerts.people import People, reachable
from tests.operations.alerts.receiver import Receiver
from tests.patience import PATIENCE, until
from tests.process import free_port, listens
from tests.slots import monthly
from tests.workers.cluster import up
from tests.workers.collector import Collector
from tests.workers.sentry import Sink
from tests.workers.visitor import Visitor
from workers import flower, metrics_server, names, page_server, paths, status

HASTE = Path(__file__).with_name("haste")

CONFIG = """
[targets.eu]
kind = "directory"
path = "regions/eu"
region = "eu"
create = true
[targets.us]
kind = "directory"
path = "regions/us"
region = "us"
create = true
[sources.local]
kind = "local"
[sources.twice]
kind = "files"
path = "twice.jsonl"
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
[policies.good]
kind = "full"
source = "local"
targets = ["eu", "us"]
recipients = ["recovery"]
single_recipient_reason = "a test"
schedule = "{schedule}"
hooks.after = {{ url = "{hook}/after" }}
hooks.on_error = {{ url = "{hook}/on_error" }}

[policies.failing]
kind = "full"
source = "twice"
targets = ["eu", "us"]
recipients = ["recovery"]
single_recipient_reason = "a test"
schedule = "{schedule}"
hooks.on_error = {{ url = "{hook}/on_error" }}
[calendar]
prune = false
[limits]
max_attempts = 2
[sentry]
dsn = "{dsn}"
[traces]
url = "{traces}"
[flower]
port = {flower}
[page]
port = {page}
[metrics]
port = {metrics}
"""

FAILED, AWAY, SILENT = "backup.failed:failing", "target.away:us", "beat."
REFUSED = "message.refused:control"


@dataclass
class House:
    """A machine whose cluster has every option on, and the people who hear of it."""

    machine: Machine
    people: People
    hook: Receiver
    sentry: Sink
    collector: Collector
    flower: int
    page: int
    metrics: int

    def configure(self) -> None:
        self.machine.ok("keys", "new", "--output", "recovery.key")
        self.write_source("app/one")
        people = self.people.settings(self.machine).replace('threshold_age = "1m"\n', "")
        self.machine.path("strongroom.toml").write_text(
            CONFIG.format(
                schedule=monthly(),  # no other slot comes due meanwhile
                hook=self.hook.url,
                dsn=self.sentry.dsn,
                traces=self.collector.url,
                flower=self.flower,
                page=self.page,
                metrics=self.metrics,
            )
            + people
        )

    def write_source(self, *secrets: str) -> None:
        lines = (json.dumps({"name": name, "value": "CANARY-file"}) for name in secrets)
        self.machine.path("twice.jsonl").write_text("".join(f"{line}\n" for line in lines))

    def rows(self, query: str) -> list[Any]:
        with (
            closing(sqlite3.connect(self.machine.state / "state.db", timeout=PATIENCE)) as database,
            database,
        ):
            return database.execute(query).fetchall()

    def runs(self, policy: str, state: str) -> list[str]:
        query = f"SELECT id FROM runs WHERE policy = '{policy}' AND kind = 'backup' AND state = '{state}'"
        return [run for (run,) in self.rows(query)]

    def age_heartbeat(self) -> None:
        """Have beat as silent as it would be in ten minutes."""
        with (
            closing(sqlite3.connect(self.machine.state / "state.db", timeout=PATIENCE)) as database,
            database,
        ):
            database.execute(f"UPDATE heartbeats SET at = at - 600 WHERE name = '{names.BEAT}'")

    def pid(self, process: str) -> int:
        read = status.read(self.machine.state)
        assert read is not None
        pid = read.processes[process].pid
        assert pid is not None
        return pid

    # -- what people got ---------------------------------------------------------------

    def so_far(self) -> list[int]:
        return [len(some) for some in self.people.received()]

    def await_news(self, key: str, since: list[int], *, critical: bool = False, over: bool = False) -> None:
        """Wait until everybody who is to hear of an alert has heard of it, or that it is over."""
        room = "resolved" if over else "alerts"

        def mail() -> bool:
            return any(key in one.text for one in self.people.mail.mails[since[0] :])

        def hook() -> bool:
            posts = self.people.hook.posts[since[1] :]
            return any(one["key"].startswith(key) for post in posts for one in post.document["data"][room])

        def service() -> bool:
            return any(key in post.document["message"] for post in self.people.service.posts[since[2] :])

        def ping() -> bool:
            posts = self.people.switch.posts[since[3] :]
            return bool(posts) and (f" {key}" in posts[-1].body.decode()) is not over

        def metrics() -> bool:
            return (f'kind="{key.partition(":")[0]}' in "".join(self.active())) is not over

        for heard in (hook, mail, ping, metrics, *((service,) if critical else ())):
            until(heard, what=f"{key} by {heard.__name__}, over: {over}")

    def active(self) -> Iterator[str]:
        """Yield the lines of the metrics that tell of an active alert."""
        token = (paths.run_folder(self.machine.state) / metrics_server.GENERATED).read_text().strip()
        text = fetch(f"http://127.0.0.1:{self.metrics}/metrics", f"Bearer {token}").decode()
        lines = (line for line in text.splitlines() if line.startswith("strongroom_alerts{"))
        return (line for line in lines if float(line.rpartition(" ")[2]) > 0)

    def tasks(self) -> list[dict[str, Any]]:
        password = (paths.run_folder(self.machine.state) / flower.GENERATED).read_text().strip()
        login = base64.b64encode(f"strongroom:{password}".encode()).decode()
        found = json.loads(fetch(f"http://127.0.0.1:{self.flower}/api/tasks", f"Basic {login}"))
        return list(found.values())

    def page_of_alerts(self) -> str:
        visitor = Visitor(self.page)
        visitor.log_in((paths.run_folder(self.machine.state) / page_server.GENERATED).read_text().strip())
        return visitor.ask("/alerts").text

    def check_ins(self, monitor: str) -> list[str]:
        found = (one for one in self.sentry.items("check_in") if one["monitor_slug"] == monitor)
        return [one["status"] for one in found]


def fetch(url: str, authorization: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": authorization})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        content: bytes = answer.read()
        return content


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        found = House(
            machine=stock(Machine(tmp_path / "machine", env={"PYTHONPATH": f"{HASTE}{os.pathsep}{ROOT}"})),
            people=stack.enter_context(reachable()),
            hook=stack.enter_context(Receiver()),
            sentry=stack.enter_context(Sink()),
            collector=stack.enter_context(Collector()),
            flower=free_port(),
            page=free_port(),
            metrics=free_port(),
        )
        found.configure()
        yield found


@pytest.mark.timeout(900)
def test_with_every_option_on_each_alert_reaches_people_everywhere_and_is_called_over(house: House) -> None:
    pytest.importorskip("apprise")
    machine = house.machine
    with up(machine, "--flower", "--page", "--metrics", wait=False) as running:
        until(lambda: "The cluster is up" in running.answer(), what="the cluster")
        served = (house.flower, house.page, house.metrics)  # it is up without them
        until(lambda: all(map(listens, served)), what=lambda: f"Flower, page and metrics\n{running.errors()}")
        # The last slot of each policy is due at once.
        until(lambda: house.runs("good", "done"), what="a good backup")
        until(lambda: house.runs("failing", "done"), what="the other one")

        since = house.so_far()
        house.write_source("app/twice", "app/twice")
        machine.ok("backup", "--cluster", "--policy", "failing")
        until(lambda: house.runs("failing", "failed"), what="the failed one")
        house.await_news(FAILED, since, critical=True)
        assert "run failed since its newest whole backup" in house.page_of_alerts()
        failures = until(lambda: [one for one in house.tasks() if one["state"] == "FAILURE"], what="Flower")
        assert {one["name"] for one in failures} == {"strongroom.step.report"}
        since = house.so_far()
        house.write_source("app/one")
        machine.ok("backup", "--cluster", "--policy", "failing")
        house.await_news(FAILED, since, critical=True, over=True)

        since = house.so_far()
        with closing(Redis(unix_socket_path=str(paths.broker_socket(machine.state)))) as broker:
            broker.lpush(names.CONTROL, "CANARY, no message")
        house.await_news(REFUSED, since, critical=True)

        since, marker = house.so_far(), machine.path("regions/us/.strongroom-target")
        marker.rename(marker.with_name("gone"))
        house.await_news(AWAY, since)
        since = house.so_far()
        marker.with_name("gone").rename(marker)
        house.await_news(AWAY, since, over=True)

        since, beat = house.so_far(), house.pid(names.BEAT)
        halt(beat, machine.state / "state.db")
        house.age_heartbeat()
        house.await_news(SILENT, since)
        since = house.so_far()
        os.kill(beat, signal.SIGCONT)
        house.await_news(SILENT, since, over=True)

        for monitor in ("alerts", "ledger-head"):
            until(lambda monitor=monitor: "ok" in house.check_ins(monitor), what=f"the monitor {monitor}")
        said = running.errors()
    assert {"ok", "error"} == set(house.check_ins("policy-failing"))
    assert set(house.check_ins("policy-good")) == {"ok"}
    assert {tuple(one["fingerprint"]) for one in house.sentry.items("event") if "exception" in one} == {
        ("DuplicateSecret", "capture")
    }
    called = [(post.path.rpartition("/")[2], post.document["entry"]) for post in house.hook.posts]
    assert {("after", "policy good"), ("on_error", "policy failing")} == set(called)
    traced = {name for _, span in house.collector.spans() for name in [span["name"]]}
    assert {"backup good", "backup failing"} <= traced
    assert house.rows("SELECT kind FROM events WHERE kind IN ('message-refused', 'message-failed')") == [
        ("message-refused",)
    ]
    assert list(machine.path("regions/eu/ledger").rglob("*.json")), "the head of the ledger"
    machine.ok("ledger", "check", "--targets")
    house.people.assert_nothing_secret(machine)
    assert "CANARY" not in said + house.sentry.text + repr(house.collector.taken)
