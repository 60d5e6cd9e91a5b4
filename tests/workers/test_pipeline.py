"""A backup through real workers on a real broker, asked for from a plain Python shell."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from strongroom.model import Secret, SecretBytes, SecretVersion
from strongroom.sources import SecretChange
from strongroom.sources.local import LocalStore
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run, RunKind, RunState, StepKind, StepState
from strongroom.state.store import RunStore
from tests.chaos.frozen import halt
from tests.patience import until
from tests.workers.cluster import RunningCluster
from tests.workers.test_worker_refuses import shell
from workers import paths

VALUE = b"CANARY-value-5d11"
CONFIG = """
[keys.recovery]
kind = "passphrase"
iterations = 100000

[policies.weekly-critical]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = ["recovery"]
"""
BACKUP = ("control", "seal", "transfer", "verify")
"""The pools that a backup needs: each other one costs a process."""
ASK = "from tasks.backup import full_backup; print(full_backup.delay(policy='weekly-critical').id)"


class Installation:
    """A cluster with twenty secrets and one policy."""

    def __init__(self, cluster: RunningCluster) -> None:
        self.cluster = cluster
        cluster.state_dir.mkdir(parents=True)
        (cluster.state_dir / "strongroom.toml").write_text(CONFIG)
        cluster.environment["STRONGROOM_PASSPHRASE"] = "CANARY-passphrase"
        LocalStore(cluster.state_dir, name="local").write(
            SecretChange(
                secret=Secret(
                    name=f"app/{number}",
                    versions=(SecretVersion(number=1, value=SecretBytes(VALUE)),),
                ),
                expected=None,
            )
            for number in range(20)
        )
        self.store = RunStore(f"sqlite:///{cluster.state_dir / 'state.db'}")

    def start(self, *pools: str) -> None:
        self.cluster.arguments = list(pools)
        self.cluster.start()

    def ask(self) -> str:
        return shell(self.cluster, ASK).strip()

    def redis(self) -> Redis:
        return Redis(unix_socket_path=str(paths.broker_socket(self.cluster.state_dir)))

    def backups(self) -> list[Run]:
        """Return the backups on record: the calendar makes other runs besides."""
        return [run for run in self.store.runs(100) if run.spec.kind is RunKind.BACKUP]

    def finished(self, request: str) -> Run:
        def run() -> Run | None:
            try:
                found = self.store.find(request)
            except RunNotFound:
                return None
            return found if found.state.final else None

        return until(run, what=lambda: f"the run's end\n{self.cluster.log[-3000:]}")


@pytest.fixture
def installation(cluster: RunningCluster) -> Iterator[Installation]:
    made = Installation(cluster)
    yield made
    made.store.close()


def test_a_backup_asked_for_from_a_shell_is_made_and_the_next_one_survives_the_kill_of_every_worker(
    installation: Installation,
) -> None:
    """One cluster for both, since it takes seconds to start; it leaves only its own files."""
    installation.start(*BACKUP)
    run = installation.finished(installation.ask())
    assert (run.state, run.error) == (RunState.DONE, None)
    assert {row.state for row in installation.store.rows(run.id)} == {StepState.DONE}

    transfer = installation.cluster.pid("transfer")
    assert transfer is not None
    # So the run has not ended before anybody is killed.
    halt(transfer, installation.cluster.state_dir / "state.db")
    request = installation.ask()
    with installation.redis() as redis:
        until(lambda: redis.llen("transfer"), what="the uploads of one container")
    for pool in ("control", "seal", "transfer", "verify"):
        if pid := installation.cluster.pid(pool):
            os.kill(pid, signal.SIGKILL)
    assert installation.finished(request).state is RunState.DONE

    assert installation.cluster.stop() == 0
    left = {file.name for file in Path(paths.run_folder(installation.cluster.state_dir)).iterdir()}
    assert left == {"pulse", "up.lock", "work"}
    pulses = paths.pulse_folder(installation.cluster.state_dir).rglob("*")
    assert not [file.name for file in pulses if file.is_file()]
    assert list(paths.work_folder(installation.cluster.state_dir).iterdir()) == []


def test_waiting_messages_outlive_the_broker_hold_no_secret_and_do_nothing_twice(
    installation: Installation,
) -> None:
    installation.start("control", "seal")
    installation.ask()
    with installation.redis() as redis:
        until(lambda: redis.llen("transfer") == 3, what="the uploads of one container")
        waiting = redis.lrange("transfer", 0, -1)
        for message in waiting:
            redis.lpush("transfer", message, message)
    assert installation.cluster.stop() == 0

    for message in waiting:
        body = base64.b64decode(json.loads(message)["body"])
        assert VALUE not in body
        assert b"app/" not in body
    installation.start(*BACKUP)
    (run,) = installation.backups()
    run = installation.finished(run.id)

    assert run.state is RunState.DONE
    uploads = installation.store.rows(run.id, StepKind.UPLOAD)
    assert [row.attempts for row in uploads] == [1, 1, 1]
    assert list(installation.store.events(kind="message-refused")) == []


@pytest.mark.long  # tests/state/test_races.py holds it of many processes
def test_a_request_that_is_delivered_twice_makes_one_run(installation: Installation) -> None:
    installation.start("seal")
    installation.ask()
    with installation.redis() as redis:
        (message,) = [m for m in redis.lrange("control", 0, -1) if b"strongroom.backup.full" in m]
        redis.lpush("control", message)
    assert installation.cluster.stop() == 0

    installation.start(*BACKUP)
    (run,) = until(installation.backups, what="a run")
    installation.finished(run.id)
    with installation.redis() as redis:
        until(lambda: redis.llen("control") == 0, what="the second message to be taken")

    assert len(installation.backups()) == 1


def test_a_broker_that_becomes_a_replica_for_a_while_is_waited_for(installation: Installation) -> None:
    """As in a failover: it answers, and takes no writes."""
    installation.start(*BACKUP)
    with installation.redis() as redis:
        redis.replicaof("127.0.0.1", "1")
        for pool in ("seal", "transfer", "verify"):  # those of control may be busy with sending
            log = installation.cluster.state_dir / "logs" / f"{pool}.log"
            until(lambda log=log: "consumer: Connection to broker lost" in log.read_text(), what=pool)
        redis.replicaof("NO", "ONE")
    assert installation.finished(installation.ask()).state is RunState.DONE
    assert "process-exited" not in installation.cluster.log
    assert "refused" not in installation.cluster.log
