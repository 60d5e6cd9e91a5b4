"""A replica that was damaged while nobody looked: found, repaired and told, and nobody asked."""

from __future__ import annotations

import subprocess
import sys

import pytest
from msgspec import structs

from strongroom.state.records import RunKind, RunState
from tests.patience import PATIENCE, until
from tests.workers.cluster import RunningCluster
from tests.workers.test_pipeline import Installation

DAY = 86_400.0
COMMAND = (sys.executable, "-m", "strongroom.cli")
BACK_UP = ("backup", "--policy", "weekly-critical", "--force")


@pytest.mark.long
def test_a_cluster_finds_damage_and_repairs_it_and_nobody_asks(cluster: RunningCluster) -> None:
    house = Installation(cluster)
    subprocess.run(
        [*COMMAND, *BACK_UP], env=cluster.environment, check=True, capture_output=True, timeout=PATIENCE
    )
    [backup] = house.store.names("weekly-critical")
    house.store.put_checks(
        [structs.replace(one, checked_at=one.checked_at - 29 * DAY) for one in house.store.checks()]
    )
    [container] = cluster.state_dir.glob("**/region-b/containers/*/*")
    was = container.read_bytes()
    container.chmod(0o600)
    container.write_bytes(was[:-1] + bytes([was[-1] ^ 1]))

    house.start("control", "transfer", "verify")

    [told] = until(lambda: house.store.events(kind="replica.repaired"), what="the repair")
    assert (told.detail["backup"], told.detail["target"]) == (backup, "region-b")
    assert told.detail["why"] == "its container 0: Tampered"
    assert container.read_bytes() == was
    slices = house.store.runs_of("(every policy)", RunKind.SCRUB, limit=5)
    assert slices[-1].state is RunState.DEGRADED
    house.store.close()
