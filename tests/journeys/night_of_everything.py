"""The night of everything: a cluster with every option on lives three days in which all goes wrong.

``python -m tests.journeys.night_of_everything FOLDER`` takes root: the machine has a clock of its own.
OpenBao holds 2,000 secrets; two clouds hold the backups. FOLDER/told.md has what each person got.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any, Final

from tests.chaos.frozen import halt
from tests.chaos.series import OWN_MOUNTS
from tests.chaos.wall_clock import WallClock
from tests.cli.program import ROOT, Machine, command
from tests.journeys.house import on_paper
from tests.live.ministack import CREDENTIALS, MiniStack
from tests.live.openbao import Answered, OpenBao, dev_server
from tests.live.vault_parts import shipped
from tests.operations.alerts.people import People, reachable
from tests.patience import PATIENCE, until
from tests.process import free_port
from tests.workers.cluster import descendants
from tests.workers.collector import Collector
from tests.workers.sentry import Sink
from tests.workers.visitor import Visitor
from workers import names
from workers.status import read as read_status

START: Final = datetime(2027, 1, 29, 20, 0, tzinfo=UTC)
"""A Friday: the weekly backup comes on the second night, the monthly one on the third."""
SECRETS: Final = 2_000
CRITICAL: Final = range(400)
CHANGED: Final = range(100)
"""Critical secrets that get another value before the weekly backup."""
DELETED: Final = range(50, 1_250)
"""What somebody deletes on Saturday, more than half of it."""
HOUR: Final = 3600
ENDED: Final = frozenset({"done", "degraded", "failed", "cancelled"})

_CLOUDS: Final = """
[targets.eu]
kind = "s3"
bucket = "strongroom-eu"
region = "eu-central-1"
endpoint_url = "{eu}"
credentials_file = "aws"
[targets.us]
kind = "s3"
bucket = "strongroom-us"
region = "us-west-2"
endpoint_url = "{us}"
credentials_file = "aws"
"""
_CONFIGURATION: Final = """
[vaults.main]
address = "{vault}"
token_file = "vault-token"
[sources.vault]
kind = "vault"
vault = "main"

[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"

[policies.daily-metadata]
kind = "metadata"
source = "vault"
targets = ["eu", "us"]
schedule = "0 2 * * *"
quorum = 1
regions = 1
[policies.weekly-critical]
kind = "full"
source = "vault"
tags = {{ priority = "critical" }}
targets = ["eu", "us"]
recipients = ["recovery"]
single_recipient_reason = "the spare lies in the bank"
schedule = "0 3 * * 0"
quorum = 1
regions = 1
[policies.weekly-critical.hooks]
after = {{ command = ["{hook}", "after"] }}
on_error = {{ command = ["{hook}", "error"] }}
[policies.monthly-full]
kind = "full"
source = "vault"
targets = ["eu", "us"]
recipients = ["recovery"]
single_recipient_reason = "the spare lies in the bank"
schedule = "0 4 1 * *"
quorum = 1
regions = 1
[policies.monthly-full.hooks]
before = {{ command = ["{hook}", "before"] }}
after = {{ command = ["{hook}", "after"] }}
on_error = {{ command = ["{hook}", "error"] }}

[limits]
lease_seconds = 5
patience_seconds = 3
[contacts.primary]
who = "DevOps team (24/7)"
phone = "+49 30 1234567"
[flower]
port = {flower}
[page]
port = {page}
[metrics]
port = {metrics}
[traces]
url = "{traces}"
[sentry]
dsn = "{sentry}"
"""


@dataclass
class Night:
    """The machine, what is round it, and the clock that all of it goes by."""

    machine: Machine
    clock: WallClock
    vault: OpenBao
    clouds: Mapping[str, MiniStack]
    people: People
    sink: Sink
    traces: Collector
    said: Path
    ports: Mapping[str, int]
    cluster: subprocess.Popen[bytes] | None = None

    @property
    def now(self) -> datetime:
        """The time of day of the machine."""
        return datetime.fromtimestamp(time.time() + self.clock.moved, UTC)

    def tell(self, who: str, words: str) -> None:
        """Write down what somebody got, and when."""
        with self.said.open("a") as file:
            file.write(f"- **{self.now:%a %d %b %H:%M}** {who}: {words}\n")

    # -- time ------------------------------------------------------------------

    def go_to(self, day: int, hour: int, minute: int = 0, *, month: int = 1) -> None:
        """Let the time of day be a later one, at once, and have what is due looked at."""
        self.wait(lambda: not self.under_way(), "what is under way")
        to = datetime(2027, month, day, hour, minute, tzinfo=UTC)
        self.clock.advance(int((to - self.now).total_seconds()) + 1)
        self.tell("clock", "it is now")
        self.have_looked()

    def have_looked(self) -> None:
        """Have what is due, and the alerts, looked at now: beat looks every half minute and two minutes."""
        asked = f"""from workers.app import app
for name in ({names.TICK!r}, {names.ALERTS!r}):
    app.send_task(name, queue={names.CONTROL!r})"""
        words, environment = [sys.executable, "-c", asked], self.machine.env | {"STRONGROOM_ROLE": names.BEAT}
        subprocess.run(words, cwd=ROOT, env=environment, check=True)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        until(lambda: condition() or None, what=what)

    def looks_until(self, condition: Callable[[], object], what: str) -> None:
        """Have alerts looked at until something is so: a look may come before what it is to see."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}"
            self.have_looked()
            time.sleep(1)

    # -- what there is ---------------------------------------------------------

    def under_way(self) -> list[str]:
        """Return what has not ended."""
        return [str(run["id"]) for run in self._runs() if run["state"] not in ENDED]

    def _runs(self) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = self.machine.run("runs", "--limit", "500", "--json").document["runs"]
        return runs

    def runs(self, policy: str) -> list[str]:
        """Return the states of a policy's backups, the oldest first."""
        found = [run for run in self._runs() if run["kind"] == "backup" and run["policy"] == policy]
        return [str(run["state"]) for run in reversed(found)]

    def backed_up(self, policy: str, state: str, count: int) -> None:
        """Wait until a policy has so many backups, and the newest ended like this."""

        def so() -> bool:
            states = self.runs(policy)
            return len(states) >= count and set(states) <= ENDED

        self.wait(so, f"backup {count} of {policy}")
        states = self.runs(policy)
        assert states[-1] == state, (policy, states)

    def look(self) -> None:
        """Write down what the page and Flower show now to somebody who looks."""
        visitor = Visitor(self.ports["page"])
        visitor.log_in((self.machine.state / "run" / "page-password").read_text().strip())
        self.tell("the page", f"shows\n\n```text\n{text_of(visitor.ask('/').text)}\n```\n")
        login = (self.machine.state / "run" / "flower-password").read_text().strip()
        basic = base64.b64encode(f"strongroom:{login}".encode()).decode()
        asked = Visitor(self.ports["flower"]).ask("/api/tasks?limit=5000", Authorization=f"Basic {basic}")
        tasks = json.loads(asked.text).values()
        counted = Counter(f"{one['name']} {one['state']}" for one in tasks)
        self.tell("Flower", f"has {sorted(counted.items())}")
        self.tell("Flower", f"names {sorted({str(one['exception']) for one in tasks if one['exception']})}")

    def mailed(self, word: str) -> bool:
        return any(word in mail.text for mail in self.people.mail.mails)

    def told_everywhere(self, alert: str) -> None:
        """Wait until mail, webhook, Apprise and pager have an alert."""
        self.looks_until(lambda: self.mailed(alert), f"a mail about {alert}")
        hooked = [one["key"] for post in self.people.hook.posts for one in post.document["data"]["alerts"]]
        assert any(key.startswith(alert) for key in hooked), (alert, hooked)

    # -- the cluster -----------------------------------------------------------

    def up(self) -> None:
        """Start it with everything on, as a person does."""
        out, err = self.machine.path("up.out"), self.machine.path("up.err")
        words = command("up", "--flower", "--page", "--metrics")
        with out.open("wb") as answers, err.open("wb") as errors:
            self.cluster = subprocess.Popen(
                words, cwd=self.machine.home, env=self.machine.env, stdout=answers, stderr=errors
            )
        self.wait(lambda: "The cluster is up" in out.read_text(), "the cluster")

    def lose(self) -> None:
        """Lose the machine: its processes, and its disk."""
        if self.cluster is None:
            return
        for pid in {self.cluster.pid, *descendants(self.cluster.pid)}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.cluster.wait()
        self.cluster = None


def text_of(page: str) -> str:
    """Return what a page says, without its markup."""
    seen = re.sub(r"<(style|title)>.*?</\1>", "", page, flags=re.DOTALL)
    lines = (" ".join(line.split()) for line in unescape(re.sub(r"<[^>]+>", "\n", seen)).splitlines())
    return "\n".join(line for line in lines if line)


# -- what is round it --------------------------------------------------------------------------------


def name(number: int) -> str:
    """Return the path of a secret in the Vault's KV mount."""
    return f"app/{number % 40:02}/{number:04}"


def first(number: int) -> str:
    return f"CANARY-first-{number:04}"


def second(number: int) -> str:
    return f"CANARY-second-{number:04}"


def write(vault: OpenBao, number: int, value: str) -> None:
    vault.put("secret/", name(number), {"value": value})
    if number in CRITICAL:
        tags = {"custom_metadata": {"tag.priority": "critical"}}
        vault.call("POST", f"secret/metadata/{name(number)}", tags)


def configure(night: Night) -> None:
    """Write the configuration with every option on, and the files that it names."""
    machine = night.machine
    machine.ok("keys", "new", "--output", "recovery.key")
    hook = machine.path("hook")
    hook.write_text(f'#!/bin/sh\necho "$1 $HOOK_ENTRY $HOOK_STATE $HOOK_ERROR" >> {machine.path("hooks")}\n')
    hook.chmod(0o700)
    machine.path("hooks").touch()
    aws = "\n".join(f"{key} = {value}" for key, value in CREDENTIALS.items())
    files = {"aws": f"[default]\n{aws}\n", "vault-token": source_token(night.vault)}
    for file, content in files.items():
        machine.path(file).touch(mode=0o600)
        machine.path(file).write_text(content)
    text = (_CLOUDS + _CONFIGURATION).format(
        vault=night.vault.address,
        eu=night.clouds["eu"].endpoint,
        us=night.clouds["us"].endpoint,
        hook=hook,
        **night.ports,
        traces=night.traces.url,
        sentry=night.sink.dsn,
    )
    people = night.people.settings(machine).replace('threshold_age = "1m"\n', "")
    machine.state.mkdir()
    machine.path("strongroom.toml").write_text(text + people)
    machine.env["STRONGROOM_CONFIG"] = str(machine.path("strongroom.toml"))
    machine.ok("check", "config")


def source_token(vault: OpenBao) -> str:
    """Return a token of what is shipped for reading."""
    vault.policy("strongroom-backup", shipped("backup-read"))
    return vault.new_token("strongroom-backup", ttl="720h")


# -- three days --------------------------------------------------------------------------------------


def live(night: Night) -> None:
    """Live three days, each with its damage."""
    night.up()
    for policy in ("daily-metadata", "weekly-critical", "monthly-full"):
        night.backed_up(policy, "done", 1)
    night.machine.ok("emergency", "kit", "--output", "kit.html")
    night.looks_until(lambda: night.people.switch.posts, "the first ping")

    night.go_to(30, 2, 5)
    night.backed_up("daily-metadata", "done", 2)
    night.go_to(30, 10)
    for number in CHANGED:
        write(night.vault, number, second(number))
    night.go_to(30, 14)
    for number in DELETED:
        night.vault.call("DELETE", f"secret/metadata/{name(number)}")
    night.tell("somebody", f"deletes {len(DELETED)} secrets")

    night.go_to(31, 3, 5)
    night.backed_up("daily-metadata", "degraded", 3)
    night.backed_up("weekly-critical", "degraded", 2)
    night.told_everywhere("backup.degraded")

    night.go_to(31, 12)
    rot(night)

    night.go_to(31, 19)
    night.clouds["us"].server.kill()
    night.tell("cloud us", "does not answer any more")
    night.go_to(31, 20)
    night.told_everywhere("target.")

    night.go_to(1, 1, month=2)
    night.vault.call("POST", "auth/token/revoke", {"token": night.machine.path("vault-token").read_text()})
    night.tell("somebody", "revokes the token")
    night.go_to(1, 4, 5, month=2)
    night.backed_up("monthly-full", "failed", 2)
    night.told_everywhere("backup.failed")
    night.look()

    status = read_status(night.machine.state)
    assert status is not None
    halt(status.processes["beat"].pid, night.machine.state / "state.db")
    night.tell("beat", "is stopped")
    night.clock.advance(HOUR)
    night.wait(lambda: night.mailed("beat."), "a mail about the beat")


def rot(night: Night) -> None:
    """Change a byte of the newest container of the monthly backup in one cloud."""
    client = night.clouds["eu"].client()
    listed = client.list_objects_v2(Bucket="strongroom-eu", Prefix="containers/")["Contents"]
    newest = max(listed, key=lambda one: one["Key"])["Key"]
    body = bytearray(client.get_object(Bucket="strongroom-eu", Key=newest)["Body"].read())
    body[len(body) // 2] ^= 1
    client.put_object(Bucket="strongroom-eu", Key=newest, Body=bytes(body))
    night.tell("cloud eu", f"{newest} rots")


# -- the morning after -------------------------------------------------------------------------------

_ELSEWHERE: Final = """
[vaults.recovery]
address = "{vault}"
token_file = "vault-token"
[sources.recovery]
kind = "vault"
vault = "recovery"
destination = true
"""


def recover(night: Night, safe: Path, vault: OpenBao) -> None:
    """Recover on a new machine, with the key from the safe and what is printed, into an empty server."""
    machine = Machine(night.machine.home.parent / "other")
    _, signer = on_paper(safe / "kit.html")
    for policy in ("backup-read", "restore", "restore-system"):
        vault.policy(policy, shipped(policy))
    files = {
        "aws": (safe / "aws").read_text(),
        "recovery.key": (safe / "recovery.key").read_text(),
        "vault-token": vault.new_token("backup-read", "restore", "restore-system"),
        "strongroom.toml": (_CLOUDS + _ELSEWHERE).format(
            vault=vault.address, eu=night.clouds["eu"].endpoint, us=night.clouds["us"].endpoint
        ),
    }
    for file, content in files.items():
        machine.path(file).touch(mode=0o600)
        machine.path(file).write_text(content)
    machine.env["STRONGROOM_CONFIG"] = str(machine.path("strongroom.toml"))
    given = [f"--answer={answer}" for answer in ("lost=vault", "leaked=none", "restore=yes")]
    words = command("recover", "--identity", "recovery.key", "--signer", signer, *given)
    with night.said.open("a") as file:
        file.write("\n```text\n")
        file.flush()
        done = subprocess.run(
            words,
            cwd=machine.home,
            env=machine.env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            check=False,
        )
        file.write("```\n\n")
    night.tell("the person who recovers", f"typed recover; it ended with {done.returncode}")


def not_back(vault: OpenBao) -> Iterator[str]:
    """Yield what did not come back, or not with the newest value that a backup within reach holds."""
    for number in range(SECRETS):
        try:
            found = vault.data(f"secret/data/{name(number)}")["data"]["value"]
        except Answered as error:
            yield f"{name(number)} is not there ({error.status})"
            continue
        if found not in (first(number), second(number)):
            yield f"{name(number)} has a value that it never had"


def leaked(night: Night) -> Iterator[str]:
    """Yield each channel that was given a value or a secret's name, and what Sentry was never told."""
    people = night.people
    posts = [
        post.body.decode() for each in (people.hook, people.service, people.switch) for post in each.posts
    ]
    sent = {
        "mail": "".join(mail.raw.decode() for mail in people.mail.mails),
        "a webhook": "".join(posts),
        "Sentry": night.sink.text,
        "a hook": night.machine.path("hooks").read_text(),
        "traces": json.dumps(night.traces.taken),
    }
    for where, content in sent.items():
        if any(value in content for value in ("CANARY-first", "CANARY-second", "app/00/", "app/01/")):
            yield f"{where} was given a value or a name"
    slugs = {one["monitor_slug"] for one in night.sink.items("check_in") if one["status"] == "error"}
    if not {"policy-monthly-full", "policy-daily-metadata"} <= slugs:
        yield f"Sentry was not told of what failed: {slugs}"


def story(night: Night) -> Iterator[str]:
    """Yield what each person got, from first to last."""
    yield "\n## Mail\n"
    for mail in night.people.mail.mails:
        yield f"### {mail.subject}\n\n{mail.message.get_content()}\n"
    yield "\n## Webhook\n"
    for post in night.people.hook.posts:
        data = post.document["data"]
        active, over = ([alert["key"] for alert in data[which]] for which in ("alerts", "resolved"))
        yield f"- active {active} over {over}"
    yield "\n## Apprise\n"
    yield from (f"- {post.document['message']!r}" for post in night.people.service.posts)
    yield "\n## Pager's dead man's switch\n"
    yield from (f"- {path or '/'} x {count}" for path, count in Counter(night.people.switch.paths).items())
    yield "\n## Sentry\n"
    for event in night.sink.items("event"):
        shown = {key: event.get(key) for key in ("level", "logentry", "tags", "transaction")}
        yield f"- {json.dumps(shown)}"
    checks = Counter((one["monitor_slug"], one["status"]) for one in night.sink.items("check_in"))
    yield from (f"- check-in {slug} {status} x {count}" for (slug, status), count in sorted(checks.items()))
    yield "\n## Hooks\n"
    yield from (f"- {line}" for line in night.machine.path("hooks").read_text().splitlines())
    yield f"\n## Traces\n\n{len(list(night.traces.spans()))} spans"


def main() -> int:
    """Live through it once; outside of a mount namespace of its own, begin again in one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--own-mounts", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.own_mounts:
        again = [sys.executable, "-m", "tests.journeys.night_of_everything", *sys.argv[1:], "--own-mounts"]
        return subprocess.run([*OWN_MOUNTS, *again], cwd=ROOT, check=False).returncode
    given.root.mkdir()
    wrong = run(given.root)
    sys.stdout.write("\n".join(wrong) or f"All is back. {given.root / 'told.md'} has what each got.\n")
    return 1 if wrong else 0


def run(root: Path) -> list[str]:
    """Live through it under ``root``; return what was not as promised."""
    clock = WallClock(root)
    clock.advance(int(START.timestamp() - time.time()))
    with ExitStack() as undo:
        clouds = {
            name: undo.enter_context(MiniStack(region))
            for name, region in (("eu", "eu-central-1"), ("us", "us-west-2"))
        }
        for name, cloud in clouds.items():
            cloud.make_bucket(f"strongroom-{name}", locking=name == "us")
        night = Night(
            machine=Machine(root / "machine"),
            clock=clock,
            vault=undo.enter_context(dev_server()),
            clouds=clouds,
            people=undo.enter_context(reachable()),
            sink=undo.enter_context(Sink()),
            traces=undo.enter_context(Collector()),
            said=root / "told.md",
            ports={name: free_port() for name in ("flower", "page", "metrics")},
        )
        undo.callback(night.lose)
        for number in range(SECRETS):
            write(night.vault, number, first(number))
        configure(night)
        safe = root / "safe"
        try:
            live(night)
            safe.mkdir()
            for file in ("recovery.key", "kit.html", "aws"):
                shutil.copy(night.machine.path(file), safe / file)
            night.lose()
            night.vault.close()
            night.tell("the machine", "is lost, and the Vault with it")
            with dev_server() as vault:
                recover(night, safe, vault)
                wrong = [*not_back(vault), *leaked(night)]
        finally:
            with night.said.open("a") as file:
                file.writelines(f"{line}\n" for line in story(night))
        return wrong


if __name__ == "__main__":
    sys.exit(main())
