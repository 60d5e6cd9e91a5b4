"""Three hosts without a common folder: a backup, a drill and a restore; one is killed, one is thrown out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from strongroom.keys import rolelist
from strongroom.keys.hostlist import removed
from strongroom.keys.keyring import Keyring
from strongroom.state.records import RunState
from tests.hosts.fleet import Fleet, fleet
from tests.patience import until
from tests.workers.test_worker_refuses import signed
from workers import names

pytestmark = [pytest.mark.timeout(900), pytest.mark.long]


@pytest.fixture
def found(tmp_path: Path) -> Iterator[Fleet]:
    with fleet(tmp_path) as made:
        yield made


def test_a_backup_is_made_by_hosts_that_share_no_folder(found: Fleet) -> None:
    values = found.secrets(20)
    ada = found.begin("ada", "control", "submit", "beat", "verify")
    bob = found.join("bob", "seal")
    eve = found.join("eve", "transfer")
    found.start()
    assert not (eve.state / "keys" / "roles" / "seal.key").exists()
    run = found.ended(found.backup(ada))
    assert (run.state, run.error) == (RunState.DONE, None)
    hosts = {host["host"]: host for host in ada.ok("cluster", "hosts")["hosts"]}
    assert {name: host["state"] for name, host in hosts.items()} == dict.fromkeys(
        ("ada", "bob", "eve"), "runs"
    )
    assert hosts["bob"]["roles"] == ["seal"]

    on_stage = b"".join(found.objects("fleet-stage").values()) + b"".join(found.objects("fleet-eu").values())
    assert b"CANARY-000-" not in on_stage
    assert not any(name.encode() in on_stage for name in values)

    # Another joins while the first runs: a process there certifies it, and nobody types anything.
    found.join("dan", "drill")

    # A host is killed in the midst of a run, and comes back.
    second = found.backup(ada)
    until(lambda: found.begun(second, "capture"), what="bob to begin")
    bob.kill()
    bob.start()
    run = found.ended(second)
    assert run.state is RunState.DONE, run.error

    # Both hold what the source has, each secret once: every one was compared with its digest.
    first, later = ada.ok("backups", "list")["backups"]
    assert first["secrets"] == later["secrets"] >= len(values)

    # What a role may not ask for is refused, on record.
    stolen = Keyring(shutil.copytree(eve.state / "keys" / "roles", found.root / "stolen"))
    send(found, stolen, names.PAGE_RUN)
    refused(found, "from role 'transfer', which may not send it")

    # One is thrown out: every other one refuses it, and it stops by itself.
    ada.ok("cluster", "remove", "eve", "--reason", "laptop lost", "--force")
    until(lambda: "host-was-removed" in eve.log, what=lambda: f"eve to learn of it\n{eve.log[-2000:]}")
    until(lambda: not eve.runs, what="eve to stop")
    for host in (ada, bob):
        path = host.state / "keys" / "roles"
        until(partial(is_removed, path, "eve"), what=f"{host.name} to learn of it")
        assert rolelist.read(path).on("eve", "transfer")[0].accepts(datetime.now(UTC)) is False

    # Whoever copied its keys before, and still has its password, is refused by its name, on record.
    send(found, stolen, names.RECONCILE)
    refused(found, "from host 'eve', which was removed")
    [gone] = found.store.happened("cluster.removed", since=0.0)
    assert (gone.detail["host"], gone.detail["reason"]) == ("eve", "laptop lost")


def test_a_host_that_is_thrown_out_leaves_what_it_did_of_a_run(found: Fleet) -> None:
    found.secrets(60, size=40_000)
    ada = found.begin("ada", "control", "submit", "beat", "verify", "transfer")
    bob, eve = found.join("bob", "seal"), found.join("eve", "seal")
    ada.start()
    bob.start()
    run = found.backup(ada)
    until(lambda: found.begun(run, "capture") > 1, what="bob to begin")
    bob.kill()
    ada.ok("cluster", "remove", "bob", "--reason", "sold", "--force")
    eve.start()
    ended = found.ended(run)
    assert (ended.state, ended.error) == (RunState.DONE, None)


def is_removed(keys: Path, host: str) -> bool:
    return host in removed(keys)


def send(found: Fleet, keyring: Keyring, task: str) -> None:
    """Send what is well-formed and signed by a transfer key, with the password of that role."""
    password = (found.passwords / "redis-transfer").read_text().strip()
    ca = str(found.authority.ca)
    with Redis(
        port=found.redis.tls_port,
        ssl=True,
        ssl_ca_certs=ca,
        username="strongroom-transfer",
        password=password,
    ) as client:
        client.lpush("control", json.dumps(signed(keyring, role="transfer", task=task)))


def refused(found: Fleet, why: str) -> None:
    until(
        lambda: any(
            why in event.detail["reason"] for event in found.store.happened("message-refused", since=0.0)
        ),
        what=f"the refusal on record: {why}",
    )
