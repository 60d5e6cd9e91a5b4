"""A restore by a live cluster into a live OpenBao: all processes killed midway, thrice; then undone."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import ConfigError, UsageError
from tests.cli.program import Machine
from tests.live.openbao import OpenBao
from tests.patience import until
from tests.workers.cluster import descendants, up

COUNT, KILLS = 2_000, 3
CONFIG = """
[vaults.prod]
address = "{address}"
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

[targets.near]
kind = "directory"
path = "near"
region = "near"
create = true

[policies.weekly]
kind = "full"
source = "prod"
targets = ["near"]
recipients = ["recovery"]

[limits]
lease_seconds = 5
"""


def keys() -> list[str]:
    return [f"app/{number:04}" for number in range(COUNT)]


def killed(machine: Machine, run: str, *, more_than: int) -> int:
    """Start the cluster, kill all of it once a run has done more, and return how many secrets that were."""
    with up(machine, "--with-recover", forked=True) as running:
        until(lambda: done(machine, run) > more_than, what="more secrets")
        for pid in (running.process.pid, *descendants(running.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.process.wait()
    return done(machine, run)


def done(machine: Machine, run: str) -> int:
    progress: dict[str, Any] | None = machine.ok("runs", "show", run, "--json").document["restore"][
        "progress"
    ]
    return progress["done"] if progress else 0


@pytest.mark.timeout(900)
@pytest.mark.long
def test_a_restore_whose_cluster_is_killed_again_and_again_ends_as_planned_and_is_undone(
    openbao: OpenBao, tmp_path: Path
) -> None:
    openbao.token_file(tmp_path)
    mount = openbao.mount("clustered")
    for key in keys():
        openbao.put(mount, key, {"password": f"CANARY-{key}"})
    machine = Machine(tmp_path / "machine")
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(
        CONFIG.format(address=openbao.address, token=tmp_path / "token", mount=mount)
    )
    with up(machine, "--with-recover", forked=True):
        backup = machine.ok("backup", "--cluster", "--policy", "weekly", "--follow", "--json").document["id"]
        openbao.unmount(mount)
        openbao.mount("clustered")
        openbao.put(mount, "app/0000", {"password": "CANARY-theirs"})
        restore = ("restore", "--full-restore", "--cluster", "--backup", backup)
        assert machine.run(*restore).failed_with(UsageError)
        assert machine.run(*restore, "--to", "nowhere").failed_with(ConfigError)
        run = machine.ok(*restore, "--to", "prod", "--overwrite-existing", "--json").document["run"]
    reached = 0
    for _ in range(KILLS):
        reached = killed(machine, run, more_than=reached)
        assert reached < COUNT
    refused = machine.run("restore", "undo", run, "--identity", "recovery.key", "--force")
    assert refused.failed_with(UsageError)
    assert "has not ended" in refused.err
    with up(machine, "--with-recover", forked=True):
        ended = machine.ok("runs", "show", run, "--follow", "--json").document
        assert ended["restore"]["restore_compare"]["same"] >= COUNT
        assert ended["restore"]["plan"]["counts"]["created"] == ended["restore"]["restore"]["created"]
        versions = {key: openbao.data(f"{mount}metadata/{key}")["current_version"] for key in keys()}
        assert versions == {key: 2 if key == "app/0000" else 1 for key in keys()}
        assert ended["undo_by"] == f"strongroom restore undo {run} --cluster"
        machine.ok("restore", "undo", "--cluster", run, "--follow")
    assert openbao.data(f"{mount}data/app/0000")["data"] == {"password": "CANARY-theirs"}
    assert openbao.call("LIST", f"{mount}metadata/app")["data"]["keys"] == ["0000"]
    openbao.unmount(mount)
