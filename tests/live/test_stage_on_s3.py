"""Two hosts without a common folder, their stage in a bucket: every kind of run, one host killed in each."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from strongroom.operations.errors import RefusalMissing
from tests.cli.program import Machine
from tests.live.ministack import MiniStack
from tests.live.openbao import OpenBao
from tests.live.regions import credentials_file
from tests.patience import until
from tests.postgres import PostgresServer
from tests.postgres import postgres_server as postgres_server  # noqa: PLC0414  # a fixture is found by name
from tests.process import free_port
from tests.redis_server import RedisServer
from tests.ssh_people import allow, person
from tests.workers.cluster import CommandUp, descendants, up

COUNT = 60
CONFIG = """
[broker]
url = "{broker}"

[state]
url = "{database}"

[stages.default]
kind = "s3"
bucket = "{bucket}-stage"
region = "eu-central-1"
endpoint_url = "{s3}"
credentials_file = "{credentials}"

[vaults.prod]
address = "{bao}"
token_file = "{token}"

[sources.prod]
kind = "vault"
vault = "prod"
mounts = ["{mount}"]
destination = true

[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
identity_file = "recovery.key"

[keys.second]
kind = "hpke"
public_key_file = "second.key.pub"

[targets.near]
kind = "s3"
bucket = "{bucket}-near"
region = "eu-central-1"
endpoint_url = "{s3}"
credentials_file = "{credentials}"

[policies.weekly]
kind = "full"
source = "prod"
targets = ["near"]
recipients = [{recipients}]
verify = "compared"

[approvals]
allowed_signers = "people"

[approvals.rules.restores]
actions = ["restore"]
k = 1
people = ["alice@example.org"]

[limits]
lease_seconds = 5
container_bytes = "64KiB"
"""


class Host:
    """A machine of its own, on which the whole cluster runs, or none of it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._running = ExitStack()
        self.up: CommandUp | None = None

    def start(self) -> None:
        self.up = self._running.enter_context(up(self.machine, "--with-recover", forked=True))

    def kill(self) -> None:
        """Be cut off from power: no process has time to say anything."""
        assert self.up is not None
        assert self.up.process is not None
        for pid in (self.up.process.pid, *descendants(self.up.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.up.process.wait()
        self._running.close()

    def close(self) -> None:
        self._running.close()


class Site:
    """Two hosts, and what each of them reaches."""

    def __init__(self, folder: Path, bao: OpenBao, s3: MiniStack, **settings: str) -> None:
        self.bao, self.s3 = bao, s3
        self.bucket = f"hosts-{secrets.token_hex(4)}"
        self.mount = bao.mount(f"m{secrets.token_hex(4)}")
        for name in ("stage", "near"):
            s3.make_bucket(f"{self.bucket}-{name}")
        for number in range(COUNT):
            bao.put(self.mount, f"app/{number:04}", {"password": f"CANARY-{number:04}" + "x" * 900})
        bao.token_file(folder)
        self.settings = settings | {
            "bao": bao.address,
            "token": str(folder / "token"),
            "s3": s3.endpoint,
            "bucket": self.bucket,
            "credentials": str(credentials_file(folder / "aws")),
            "mount": self.mount,
        }
        self.alice = person(folder / "people", "alice@example.org")
        first = Machine(folder / "first")
        for key in ("recovery.key", "second.key"):
            first.ok("keys", "new", "--output", key)
        allow(first.path("people"), self.alice)
        self.hosts = [Host(first), Host(Machine(folder / "second"))]
        self.configure('"recovery"')
        with up(first, "--with-recover", forked=True):
            pass  # it makes the keys of all roles
        for name in ("recovery.key", "recovery.key.pub", "second.key.pub", "people"):
            shutil.copy(first.path(name), self.hosts[1].machine.path(name))
        shutil.copytree(first.state / "keys", self.hosts[1].machine.state / "keys")

    def configure(self, recipients: str) -> None:
        for host in self.hosts:
            text = CONFIG.format(**self.settings, recipients=recipients)
            host.machine.path("strongroom.toml").write_text(text)

    def started(self) -> list[Host]:
        for host in self.hosts:
            host.start()
        return self.hosts

    def values(self) -> dict[str, Any]:
        names = (f"app/{number:04}" for number in range(COUNT))
        return {name: self.bao.data(f"{self.mount}data/{name}")["data"] for name in names}

    def way_back(self, run: str) -> bool:
        """Tell whether a run has put on the stage what undoes it, and so is about to write."""
        return any(name.startswith(f"undo/{run}/") for name in self.staged())

    def begin(self, *words: str) -> str:
        """Have a run put on record; return its id."""
        document = self.hosts[0].machine.ok(*words, "--cluster", "--json").document
        (begun,) = document.get("runs") or (document,)
        return str(begun.get("run") or begun["id"])

    def show(self, run: str) -> dict[str, Any]:
        return self.hosts[0].machine.ok("runs", "show", run, "--json").document

    def ended(self, run: str, host: Host) -> dict[str, Any]:
        """Return a run as it is once it has ended."""

        def over() -> dict[str, Any] | None:
            document = host.machine.ok("runs", "show", run, "--json").document
            return None if document["state"] == "active" else document

        return until(over, what=f"the end of run {run}", seconds=600)

    def staged(self) -> dict[str, bytes]:
        client, bucket = self.s3.client(), f"{self.bucket}-stage"
        found = client.list_objects_v2(Bucket=bucket).get("Contents", ())
        read: dict[str, bytes] = {}
        for entry in found:
            with suppress(client.exceptions.NoSuchKey):
                read[entry["Key"]] = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
        return read

    def look(self) -> dict[str, bytes]:
        """Look at every byte on the stage: none is of a value or of a secret's name."""
        found = self.staged()
        for name, content in found.items():
            assert b"CANARY-" not in content, name
            assert b"app/0" not in content, name
            assert "app/" not in name
        return found

    def killed_in(self, run: str, ready: Callable[[], Any], victim: int) -> dict[str, Any]:
        """Kill a host in the middle of a run, have the other end it, and start the killed one again."""
        until(ready, what=f"run {run} to be under way")
        self.look()
        self.hosts[victim].kill()
        ended = self.ended(run, self.hosts[1 - victim])
        self.look()
        self.hosts[victim].start()
        assert ended["error"] is None, ended
        return ended


@pytest.fixture
def site(
    openbao: OpenBao, ministack: MiniStack, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[Site]:
    with RedisServer(port=free_port()) as redis:
        database = postgres_server.new_database()
        made = Site(tmp_path, openbao, ministack, broker=redis.broker_url, database=database)
        try:
            yield made
        finally:
            for host in made.hosts:
                host.close()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_hosts_whose_stage_is_a_bucket_back_up_verify_drill_and_rotate_though_one_is_killed_in_each(
    site: Site,
) -> None:
    first, second = site.started()
    backup = site.begin("backup", "--policy", "weekly")
    site.killed_in(backup, lambda: any("/sealed/" in name for name in site.staged()), victim=0)
    run = site.begin("backups", "verify", backup)
    site.killed_in(run, lambda: True, victim=1)
    run = site.begin("drill", "full", "--policy", "weekly")
    site.killed_in(run, lambda: True, victim=0)

    site.configure('"recovery", "second"')
    with ThreadPoolExecutor(1) as typed:  # this command waits for the end
        rotated = typed.submit(first.machine.run, "keys", "rotate", "weekly", "--cluster", "--json")
        until(lambda: "rotate" in first.machine.ok("runs", "--json").out, what="the rotation to begin")
        second.kill()
        assert rotated.result().code == 0, rotated.result()
    assert not [name for name in site.look() if name.startswith("runs/")]
    first.machine.ok("check", "storage", "default")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_hosts_whose_stage_is_a_bucket_restore_what_was_approved_and_undo_it_though_one_is_killed_in_each(
    site: Site,
) -> None:
    _, second = site.started()
    before = site.values()
    backup = site.begin("backup", "--policy", "weekly")
    assert site.ended(backup, second)["error"] is None
    for number in range(0, COUNT, 3):
        site.bao.put(site.mount, f"app/{number:04}", {"password": f"CANARY-theirs-{number}"})
    changed = site.values()
    asked = ("--backup", backup, "--to", "prod", "--overwrite-existing")
    restore = site.begin("restore", "--full-restore", *asked)
    until(lambda: restore in second.machine.ok("approvals", "list", "--json").out, what="it to wait")
    assert any(name.startswith(f"runs/{restore}/plan/") for name in site.look())
    second.machine.ok("approvals", "approve", restore, "--key", site.alice.file, "--force")
    site.killed_in(restore, lambda: site.way_back(restore), victim=0)
    assert site.values() == before

    undo = site.begin("restore", "undo", restore)
    site.killed_in(undo, lambda: site.way_back(undo), victim=1)
    assert site.values() == changed
    assert not [name for name in site.look() if name.startswith("runs/")]


def test_a_bucket_that_locks_by_itself_is_no_stage(ministack: MiniStack, tmp_path: Path) -> None:
    bucket = ministack.make_bucket(f"locked-{secrets.token_hex(4)}", locking=True)
    ministack.client().put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    machine = Machine(tmp_path / "machine")
    machine.path("strongroom.toml").write_text(
        f'[stages.default]\nkind = "s3"\nbucket = "{bucket}"\nregion = "eu-central-1"\n'
        f'endpoint_url = "{ministack.endpoint}"\ncredentials_file = "{credentials_file(tmp_path / "aws")}"\n'
    )
    refused = machine.run("check", "storage", "default")
    assert refused.failed_with(RefusalMissing)
    assert "it is no stage" in refused.out
