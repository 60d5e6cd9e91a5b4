"""The failover drill on a live cluster while a region's server is dead, into a mount on a live OpenBao."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from strongroom.sources.vault.scratch import PREFIX
from tests.cli.program import Machine
from tests.live.ministack import MiniStack
from tests.live.openbao import OpenBao
from tests.live.regions import credentials_file
from tests.workers.cluster import up

CONFIG = """
[vaults.prod]
address = "{address}"
token_file = "{token}"
scratch = true

[sources.prod]
kind = "vault"
vault = "prod"
mounts = ["{mount}"]

[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
identity_file = "recovery.key"

[targets.north]
kind = "s3"
bucket = "{north}"
region = "eu-north-1"
endpoint_url = "{north_url}"
credentials_file = "{credentials}"

[targets.central]
kind = "s3"
bucket = "{central}"
region = "{region}"
endpoint_url = "{central_url}"
credentials_file = "{credentials}"

[targets.near]
kind = "directory"
path = "near"
region = "near"
create = true

[policies.weekly]
kind = "full"
source = "prod"
targets = ["north", "central", "near"]
recipients = ["recovery"]

[drill]
into = "prod"
"""


@pytest.mark.timeout(900)
@pytest.mark.long
def test_a_failover_drill_passes_while_the_server_of_the_region_is_dead(
    openbao: OpenBao, ministack: MiniStack, own_ministack: MiniStack, tmp_path: Path
) -> None:
    openbao.token_file(tmp_path)
    mount = openbao.mount("drilled")
    for number in range(40):
        openbao.put(mount, f"app/{number:02}", {"value": f"CANARY-{number}", "role": "admin"})
    machine = Machine(tmp_path / "machine")
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(
        CONFIG.format(
            address=openbao.address,
            token=tmp_path / "token",
            mount=mount,
            north=own_ministack.make_bucket("north"),
            north_url=own_ministack.endpoint,
            central=ministack.make_bucket(f"central-{os.urandom(4).hex()}"),
            central_url=ministack.endpoint,
            region=ministack.region,
            credentials=credentials_file(tmp_path / "aws"),
        )
    )
    with up(machine, forked=True):
        machine.ok("backup", "--cluster", "--policy", "weekly", "--follow")
        mounts = set(openbao.data("sys/mounts"))
        own_ministack.server.kill()
        report = machine.ok("drill", "failover", "--json").document
        assert set(openbao.data("sys/mounts")) == mounts
        listed = machine.run("drill", "list", "--json")
        page = tmp_path / "drill.html"
        machine.ok("drill", "show", report["run"], "--from-target", "near", "--output", page)
    assert (report["outcome"], report["cut_off"]) == ("passed", {"north": "eu-north-1"})
    assert report["into"] == "prod"
    assert report["secrets"] == report["expected"] == report["compared"] >= 40
    assert sum(report["read_from"].values()) == report["secrets"]
    assert "north" not in report["read_from"]
    assert report["live"]["same"] == report["secrets"]
    assert (report["stored"]["on"], list(report["stored"]["missed"])) == (["central", "near"], ["north"])
    assert ("north" in listed.err, listed.document["drills"][0]["on"]) == (True, ["central", "near"])
    assert not [path for path in openbao.data("sys/mounts") if path.startswith(PREFIX)]
    assert "CANARY" not in page.read_text() + json.dumps(report)
    if kept := os.environ.get("STRONGROOM_TEST_KEEP"):
        shutil.copy(page, kept)
