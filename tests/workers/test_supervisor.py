"""The local cluster with real processes: what dies is started again, and nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.patience import PATIENCE, until
from tests.process import free_port
from tests.redis_server import RedisServer
from tests.workers.cluster import RunningCluster, descendants, is_alive
from workers import paths, status
from workers.process import backoff


@pytest.fixture
def small(cluster: RunningCluster) -> RunningCluster:
    """A cluster of one prefork and one threads pool, ready."""
    cluster.arguments = ["control", "transfer"]
    return cluster.start()


def stops_cleanly(small: RunningCluster, how: signal.Signals) -> None:
    """Stop a cluster, which leaves no process and no file of those that run."""
    assert len(small.note()) >= 5  # broker, two mains, a forked child, beat
    assert small.stop(how) == 0
    assert small.left_over() == set()
    assert not paths.status_file(small.state_dir).exists()
    assert not paths.broker_socket(small.state_dir).exists()


def test_it_stops_cleanly_by_ctrl_c(small: RunningCluster) -> None:
    stops_cleanly(small, signal.SIGINT)


def test_it_answers_alone_starts_again_what_is_killed_and_stops_cleanly(small: RunningCluster) -> None:
    until(lambda: ping(small) == ["control", "transfer"], what="both to answer")
    told = subprocess.run(
        [sys.executable, "-m", "tests.workers.up"],
        env=small.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "a cluster already runs" in told.stderr
    assert status.read(small.state_dir) is not None

    for name in ("control", "transfer", "beat", "broker"):
        first = small.pid(name)
        assert first is not None
        below = descendants(first)

        os.kill(first, signal.SIGKILL)

        second = renewed(small, name, first)
        assert is_alive(second)
        until(lambda below=below: not any(map(is_alive, below)), what=f"the end of {name}'s children")
    stops_cleanly(small, signal.SIGTERM)


def test_a_broker_that_cannot_read_what_it_kept_starts_without_it(cluster: RunningCluster) -> None:
    """A torn file, or one that another server program wrote. The record sends again what was in it."""
    data = paths.private_folder(paths.broker_data(cluster.state_dir))
    kept = paths.private_folder(data / "appendonlydir")
    (kept / "appendonly.aof.manifest").write_text("file appendonly.aof.1.base.rdb seq 1 type b\n")
    (kept / "appendonly.aof.1.base.rdb").write_bytes(b"VALKEY080 of another program")
    cluster.arguments = ["transfer"]
    cluster.start()
    assert [file.name for file in (data / "unreadable").iterdir()] == ["appendonlydir"]
    assert "broker-data-set-aside" in cluster.log
    assert cluster.stop() == 0


def renewed(cluster: RunningCluster, name: str, first: int) -> int:
    """Wait for another process of that name."""

    def other() -> int | None:
        pid = cluster.pid(name)
        return None if pid == first else pid

    return until(other, what=f"a new {name}")


def test_a_cluster_on_a_full_disk_starts_as_soon_as_there_is_room(cluster: RunningCluster) -> None:
    folder = paths.private_folder(paths.run_folder(cluster.state_dir))
    full = folder / "cluster.new"
    full.symlink_to("/dev/full")
    cluster.arguments = ["control"]
    cluster.start(wait=False)
    until(lambda: "is full; the cluster starts as soon as there is room" in cluster.log, what="the words")
    full.unlink()
    cluster.await_ready("ready\n")
    assert cluster.stop() == 0


def test_a_cluster_that_waits_for_room_can_be_stopped(cluster: RunningCluster) -> None:
    (paths.private_folder(paths.run_folder(cluster.state_dir)) / "cluster.new").symlink_to("/dev/full")
    cluster.start(wait=False)
    until(lambda: "is full" in cluster.log, what="the words")
    assert cluster.stop() == 0


def test_a_broker_that_starts_later_than_the_cluster_is_waited_for(cluster: RunningCluster) -> None:
    port = free_port()
    cluster.environment["STRONGROOM_BROKER__URL"] = f"redis://127.0.0.1:{port}/0"
    cluster.arguments = ["control"]
    cluster.start(wait=False)
    until(lambda: "does not answer; the cluster starts as soon as it does" in cluster.log, what="the words")
    with RedisServer(port=port):
        cluster.await_ready("ready\n")
        assert cluster.stop() == 0


def test_a_disk_that_fills_up_ends_no_running_cluster(small: RunningCluster) -> None:
    paths.status_file(small.state_dir).with_suffix(".new").symlink_to("/dev/full")
    first = small.pid("beat")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: "status-not-written" in small.log, what="the warning")
    assert is_alive(small.supervisor)
    paths.status_file(small.state_dir).with_suffix(".new").unlink()
    assert small.stop() == 0


def test_a_killed_supervisor_takes_everything_along_and_the_cluster_starts_again(
    small: RunningCluster,
) -> None:
    small.note()

    small.stop(signal.SIGKILL)

    until(lambda: not small.left_over(), what="the end of all processes")

    small.start()

    assert small.pid("control") is not None
    assert small.stop() == 0


def test_the_ephemeral_broker_is_warned_of_and_carries_tasks(cluster: RunningCluster) -> None:
    cluster.arguments = ["control", "--ephemeral"]
    cluster.start()

    until(lambda: "keeps nothing" in cluster.log or "ephemeral stand-in" in cluster.log, what="the warning")
    until(lambda: ping(cluster) == ["control"], what="its answer")
    assert cluster.stop() == 0
    assert cluster.left_over() == set()
    assert not paths.broker_file(cluster.state_dir).exists()


def test_no_child_can_dump_core_and_none_sees_a_variable_it_does_not_need(cluster: RunningCluster) -> None:
    cluster.arguments = ["control", "transfer", "verify", "--started"]
    cluster.environment |= {
        "STRONGROOM_PASSPHRASE": "CANARY-passphrase",
        "AWS_SECRET_ACCESS_KEY": "CANARY-aws",
        "UNRELATED": "CANARY-unrelated",
    }
    cluster.start()

    seen = {
        name: environment_of(cluster, name) for name in ("control", "transfer", "verify", "beat", "broker")
    }

    assert {name for name, text in seen.items() if "CANARY-passphrase" in text} == {"verify"}
    assert {name for name, text in seen.items() if "CANARY-aws" in text} == {"control", "transfer", "verify"}
    assert not any("CANARY-unrelated" in text for text in seen.values())
    for name in seen:
        limits = (paths.Path("/proc") / str(cluster.pid(name)) / "limits").read_text()
        assert limits.split("Max core file size")[1].split()[0] == "0"


def test_failures_in_a_row_are_answered_more_and_more_slowly() -> None:
    waits = [backoff(failures) for failures in range(1, 12)]

    assert waits[0] <= 0.2
    assert waits == sorted(waits)
    assert waits[-1] == 30.0


def ping(cluster: RunningCluster) -> list[str]:
    """Return which pools answer a signed ping from a plain shell."""
    program = (
        "import json\n"
        "from workers.app import app\n"
        "answer = app.control.inspect(timeout=3).ping() or {}\n"
        "print(json.dumps(sorted(name.partition('@')[0] for name in answer)))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    found: list[str] = json.loads(told.stdout)
    return found


def environment_of(cluster: RunningCluster, name: str) -> str:
    return (paths.Path("/proc") / str(cluster.pid(name)) / "environ").read_text()
