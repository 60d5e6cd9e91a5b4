"""check on a machine where a cluster runs: who answers, and who does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

from tests.cli.program import command
from tests.patience import PATIENCE, until
from tests.workers.cluster import RunningCluster
from workers.pools import POOLS


def looked(cluster: RunningCluster) -> dict[str, Any]:
    done = subprocess.run(
        command("check", "--json"),
        env=cluster.environment,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def of(found: dict[str, Any], check: str) -> list[tuple[str, str]]:
    return [(one["state"], one["what"]) for one in found["findings"] if one["check"] == check]


def test_queues_that_nobody_works_on_are_named_and_a_dead_broker_too(cluster: RunningCluster) -> None:
    cluster.arguments = ["control"]
    cluster.start()
    found = looked(cluster)
    assert [state for state, _ in of(found, "broker")] == ["good"]
    [(state, words)] = of(found, "workers")
    others = [pool.role for pool in POOLS.values() if pool.always and pool.role != "control"]
    assert (state, words.partition(":")[0]) == ("wrong", f"no worker answers for {', '.join(others)}")
    supervisor, broker = cluster.supervisor, cluster.pid("broker")
    assert broker is not None
    os.kill(supervisor, signal.SIGSTOP)  # or it starts the broker again before anybody looks
    os.kill(broker, signal.SIGKILL)
    try:
        until(lambda: of(looked(cluster), "broker")[0][0] == "wrong", what="the broker to be missed")
    finally:
        os.kill(supervisor, signal.SIGCONT)
