"""A company's Vault through the whole system: real workers back it up, a command brings it back.

Logged in as an AppRole with exactly the shipped policies; one of the targets lies in that very
server, so it holds a replica and counts for nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from strongroom.operations.errors import RunDegraded
from strongroom.state.records import Run, RunKind, RunState
from strongroom.state.store import RunStore
from strongroom.vault.tokens import AppRole
from tests.cli.program import Machine
from tests.live.ministack import MiniStack
from tests.live.openbao import OpenBao
from tests.live.regions import credentials_file
from tests.live.vault_parts import READ, RESTORE, shipped, with_policies
from tests.patience import until
from tests.workers.cluster import RunningCluster

CONFIG = """
[vaults.prod]
address = "{address}"
login = "approle"
role_id = "{role_id}"
secret_id_file = "{secret_id_file}"
requests_per_second = 2000

[sources.prod]
kind = "vault"
vault = "prod"

[targets.inside]
kind = "vault"
vault = "prod"
mount = "strongroom"
region = "eu-central"

[targets.s3]
kind = "s3"
bucket = "{bucket}"
region = "eu-central-1"
endpoint_url = "{s3}"
credentials_file = "{folder}/aws"

[targets.disk]
kind = "directory"
path = "disk"
region = "office"
create = true

[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"

[policies.vault]
kind = "full"
source = "prod"
targets = ["inside", "s3", "disk"]
recipients = ["recovery"]
quorum = 2
regions = 2
providers = 2
"""
VALUES = {f"app-{n:03}/db": f"CANARY-db-{n:03}" for n in range(120)}


@dataclass(frozen=True, kw_only=True)
class Site:
    """The machine, its Vault, and the run that backed that up."""

    machine: Machine
    bao: OpenBao
    run: Run

    @property
    def identity(self) -> tuple[str, ...]:
        return ("--identity", str(self.machine.path("recovery.key")))


def config_of(bao: OpenBao, login: AppRole, ministack: MiniStack, bucket: str, folder: Path) -> str:
    return CONFIG.format(
        address=bao.address,
        role_id=login.role_id,
        secret_id_file=login.secret_id_file,
        s3=ministack.endpoint,
        bucket=bucket,
        folder=folder,
    )


@pytest.fixture
def site(own_openbao: OpenBao, ministack: MiniStack, tmp_path: Path) -> Site:
    bao = own_openbao
    with_policies(bao)
    bao.policy("kv-target", shipped("kv-target"))
    bao.mount("strongroom")
    for path, value in VALUES.items():
        bao.put("secret/", path, {"password": "CANARY-old"})
        bao.put("secret/", path, {"password": value})
    bao.call("POST", "sys/mounts/pki", {"type": "pki"})
    login = bao.app_role(tmp_path, "backup", ["default", *READ, "kv-target"])
    bucket = ministack.make_bucket(f"sr-{secrets.token_hex(6)}")
    credentials_file(tmp_path / "aws")
    machine = Machine(tmp_path / "machine")
    machine.env["STRONGROOM_CONFIG"] = str(machine.path("strongroom.toml"))
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(config_of(bao, login, ministack, bucket, tmp_path))
    machine.ok("check", "config")
    return Site(machine=machine, bao=bao, run=back_up(machine))


def back_up(machine: Machine) -> Run:
    """Have the cluster do it, with a broker of its own and all its pools."""
    cluster = RunningCluster(machine.state, environment=machine.env)
    cluster.environment.update(machine.env)
    store = RunStore(f"sqlite:///{machine.state / 'state.db'}")
    try:
        cluster.start()
        machine.ok("backup", "--cluster", "--policy", "vault")
        made = partial(store.runs_of, "vault", RunKind.BACKUP, limit=1)
        until(lambda: [run for run in made() if run.state.final], what="the backup's end")
        return made()[0]
    finally:
        cluster.close()
        store.close()


def test_a_vault_is_backed_up_by_workers_lost_and_brought_back(site: Site, tmp_path: Path) -> None:
    assert (site.run.state, site.run.error) == (RunState.DONE, None)
    shows_what_it_is(site)
    site.bao.unmount("secret")
    site.bao.mount("secret")
    log_in_to_restore(site, tmp_path)
    words = ("restore", "--to", "prod", "--from-target", "s3", "--full-restore", "--force", "--json")
    differing = site.machine.run(*words, *site.identity)
    restored = differing.document
    assert differing.failed_with(RunDegraded), "made anew, and otherwise"
    assert restored["left_names"] == ["sys/mounts/secret"], "made anew, and otherwise"
    assert restored["created"] >= len(VALUES)
    assert restored["compared"] == restored["created"]
    for path, value in VALUES.items():
        found = site.bao.data(f"secret/data/{path}")
        assert (found["data"]["password"], found["metadata"]["version"]) == (value, 2)


def shows_what_it_is(site: Site) -> None:
    """What it lacks, what counted, and that the mount of backups is none of what was backed up."""
    info = site.machine.ok("backups", "show", "s3", "--json").document
    assert any("pki" in line for line in info["not_contained"])
    counted = {pin.name: pin.counts for pin in site.run.spec.targets}
    assert counted == {"inside": False, "s3": True, "disk": True}
    get = ("get", "--from-target", "inside", "--show-value", "--json", *site.identity)
    assert "CANARY-db-007" in str(site.machine.ok(*get, "secret/app-007/db").document["value"])
    held = site.machine.ok("backups", "verify", "--opens", "inside", *site.identity, "--json").document[
        "secrets"
    ]
    assert held == info["secrets"] < len(VALUES) + 50, "the containers in strongroom/ would be many more"


def log_in_to_restore(site: Site, folder: Path) -> None:
    """Give the machine the role that nobody has on an ordinary day."""
    login = site.bao.app_role(folder, "recovery", ["default", "kv-target", *RESTORE])
    config = site.machine.path("strongroom.toml")
    lines = config.read_text().splitlines()
    changed = {
        "role_id": f'role_id = "{login.role_id}"',
        "secret_id_file": f'secret_id_file = "{login.secret_id_file}"',
    }
    config.write_text("\n".join(changed.get(line.partition(" =")[0], line) for line in lines))
