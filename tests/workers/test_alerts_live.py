"""A cluster whose beat is silent, whose host dies, or that is attacked: people hear of it from outside."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from tests.chaos.frozen import halt
from tests.cli.conftest import stock
from tests.cli.program import Machine
from tests.operations.alerts.people import People, reachable
from tests.patience import PATIENCE, until
from tests.workers.cluster import descendants, up
from workers import names, paths, status

TARGETS = """
[targets.{name}]
kind = "directory"
path = "{folder}/{name}"
region = "{name}"
create = true
"""
POLICY = '[policies.{name}]\nkind = "metadata"\ntargets = ["eu", "us"]\nschedule = "0 2 * * *"\n'


class Site:
    """A machine with a cluster, and another host that checks it from outside, by the same state database."""

    def __init__(self, folder: Path, people: People) -> None:
        self.machine, self.outside = stock(Machine(folder / "machine")), Machine(folder / "outside")
        self.people = people
        self._folder = folder

    def configure(self, *policies: str) -> None:
        targets = "".join(TARGETS.format(name=name, folder=self._folder) for name in ("eu", "us"))
        self._common = targets + "".join(POLICY.format(name=name) for name in policies)
        own = self._common + self.people.settings(self.machine)
        self.machine.path("strongroom.toml").write_text(own)

    def configure_outside(self) -> None:
        fingerprint = self.machine.ok("keys", "signers", "list", "--json").document["installation"]
        own = f'[state]\nurl = "sqlite:///{self.machine.state}/state.db"\n'
        own += f'[trust]\nsigners = ["{fingerprint}"]\n'
        text = self._common + self.people.settings(self.outside) + own
        self.outside.path("strongroom.toml").write_text(text)
        self.outside.began_long_ago()

    def look(self) -> tuple[set[str], set[str], set[str]]:
        """Check from outside. Return what is new and what is over, by webhook and mail alike; and what the
        ping says is wrong."""
        self.configure_outside()
        before = [len(some) for some in self.people.received()]
        done = self.outside.run("alerts", "send")
        mails, hooks, _services, pings = (
            some[count:] for some, count in zip(self.people.received(), before, strict=True)
        )
        assert len(pings) == 1, done.out + done.err
        [ping] = pings
        active = judged(line.split()[1].rstrip(":") for line in ping.body.decode().splitlines())
        if not hooks:
            return set(), set(), active
        [hook], [mail] = hooks, mails
        data = hook.document["data"]
        new, over = (judged(one["key"] for one in data[name]) for name in ("alerts", "resolved"))
        assert all(key in mail.text for key in new | over)
        return new, over, active

    def edit(self, statement: str) -> None:
        with (
            closing(sqlite3.connect(self.machine.state / "state.db", timeout=PATIENCE)) as database,
            database,
        ):
            database.execute(statement)

    def count(self, query: str) -> int:
        with closing(sqlite3.connect(self.machine.state / "state.db", timeout=PATIENCE)) as database:
            return int(database.execute(query).fetchone()[0])

    def backed_up(self, policy: str) -> None:
        query = f"SELECT count(*) FROM runs WHERE policy = '{policy}' AND state = 'done'"
        until(lambda: self.count(query), what=f"a backup of '{policy}'")

    def pid(self, process: str) -> int:
        read = status.read(self.machine.state)
        assert read is not None
        return read.processes[process].pid


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with reachable() as people:
        yield Site(tmp_path, people)


def judged(keys: Iterable[str]) -> set[str]:
    """Return those that this is about: the checks of the calendar may find something else meanwhile."""
    return {key for key in keys if key.startswith(("beat.", "message.", "backup.overdue"))}


LONG_AGO = f"UPDATE heartbeats SET at = at - 600 WHERE name = '{names.BEAT}'"


@pytest.mark.timeout(900)
@pytest.mark.long  # tests/cli/test_alertmanager.py holds it of one receiver, tests/journeys of one cluster
def test_a_silent_scheduler_a_forged_message_and_a_dead_host_are_received_from_outside_and_called_over(
    site: Site,
) -> None:
    site.configure("daily")
    with up(site.machine, forked=True) as running:
        site.backed_up("daily")
        assert site.look() == (set(), set(), set())

        with closing(Redis(unix_socket_path=str(paths.broker_socket(site.machine.state)))) as broker:
            broker.lpush(names.CONTROL, "CANARY, no message")
        until(
            lambda: site.count("SELECT count(*) FROM events WHERE kind = 'message-refused'"), what="refusal"
        )
        beat = site.pid(names.BEAT)
        halt(beat, site.machine.state / "state.db")
        site.edit(LONG_AGO)
        new, over, active = site.look()
        assert (new, over) == ({"message.refused:control", "beat.silent"}, set())
        assert active == new

        os.kill(beat, signal.SIGCONT)
        until(lambda: beats(site), what="beat again")
        assert site.look() == (set(), {"beat.silent"}, {"message.refused:control"})

        site.configure("daily", "never")  # due as soon as beat could see it, which is dead
        kill_host(running.supervisor)
    site.edit(LONG_AGO)
    new, over, active = site.look()
    assert (new, over) == ({"backup.overdue:never", "beat.silent"}, set())
    assert site.people.switch.posts[-1].path.endswith("/fail")

    with up(site.machine, forked=True):
        site.backed_up("never")
        until(lambda: beats(site), what="beat again")
        assert site.look() == (set(), {"backup.overdue:never", "beat.silent"}, {"message.refused:control"})
    site.people.assert_nothing_secret(site.machine)


def beats(site: Site) -> int:
    query = f"SELECT count(*) FROM heartbeats WHERE name = '{names.BEAT}' AND at > unixepoch('subsec') - 60"
    return site.count(query)


def kill_host(pid: int) -> None:
    """End every process of a host at once."""
    for each in {pid} | descendants(pid):
        os.kill(each, signal.SIGKILL)


@pytest.mark.timeout(900)
@pytest.mark.long
def test_the_workers_notify_by_themselves_within_the_first_minutes_after_the_start(site: Site) -> None:
    site.configure("daily")
    site.machine.ok("backup", "--policy", "daily", "--force")
    with up(site.machine, forked=True):
        with closing(Redis(unix_socket_path=str(paths.broker_socket(site.machine.state)))) as broker:
            broker.lpush(names.CONTROL, "CANARY, no message")
        until(lambda: site.people.hook.posts, what="the message of the workers")
        [post] = site.people.hook.posts
        assert [one["key"] for one in post.document["data"]["alerts"]] == ["message.refused:control"]
        until(lambda: site.people.mail.mails and site.people.switch.posts, what="mail and ping")
        new, _, active = site.look()
        assert (new, active) == (set(), {"message.refused:control"}), "it is left to the workers"
