"""One backup, held at once by Vault, two S3 regions and Azure: restored from each alone.

Through the command line, as a person would: four servers, one configuration, and on the
worst day a machine that has nothing but that configuration and the private key.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from tests.cli.program import Machine
from tests.live.azurite import Azurite
from tests.live.ministack import MiniStack
from tests.live.openbao import OpenBao, dev_server
from tests.live.regions import credentials_file
from tests.live.vault_parts import shipped

TARGETS = ("bao", "s3-eu", "s3-us", "azure")
TURNED = (*TARGETS[1:], TARGETS[0])
"""So that the samples of two tests are on all four together."""
VALUES = {f"prod/app-{n:02}/token": f"CANARY-value-{n:02}-" + "x" * n * 40 for n in range(25)}

CONFIG = """
[vaults.backup]
address = "{bao}"
token_file = "{folder}/token"

[targets.bao]
kind = "vault"
vault = "backup"
mount = "strongroom"
region = "eu-central"
transit_key = "strongroom"
chunk_bytes = "8KiB"

[targets.s3-eu]
kind = "s3"
bucket = "{bucket}"
region = "eu-central-1"
endpoint_url = "{s3_eu}"
credentials_file = "{folder}/aws"
lock = "governance"

[targets.s3-us]
kind = "s3"
bucket = "{bucket}"
prefix = "prod"
region = "eu-west-1"
endpoint_url = "{s3_us}"
credentials_file = "{folder}/aws"

[targets.azure]
kind = "azure"
account_url = "{azure}"
container = "{bucket}"
region = "westeurope"
credential_file = "{folder}/azure"

[keys.recovery]
kind = "hpke"
public_key_file = "{folder}/recovery.key.pub"

[keys.operators]
kind = "hpke"
public_key_file = "{folder}/operators.key.pub"

[index]
recipients = ["operators"]

[policies.everything]
kind = "full"
targets = ["bao", "s3-eu", "s3-us", "azure"]
recipients = ["recovery"]
quorum = 3
regions = 3
providers = 3
minimum_retention_days = 400
"""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A machine that backs up to four servers, and what another one needs to bring things back."""

    machine: Machine
    folder: Path
    config: str
    signer: str
    backup: str

    def elsewhere(self, folder: Path) -> Machine:
        """Return a machine of its own with the same configuration and no state at all."""
        made = Machine(folder)
        made.path("strongroom.toml").write_text(self.config)
        return made


@pytest.fixture(scope="module")
def servers(azurite: Azurite, ministack: MiniStack, other_ministack: MiniStack) -> Iterator[OpenBao]:
    with dev_server() as bao:
        bao.policy("kv-target", shipped("kv-target"))
        bao.call("POST", "sys/mounts/transit", {"type": "transit"})
        bao.call("POST", "transit/keys/strongroom", {})
        bao.mount("strongroom")
        yield bao


@pytest.fixture(scope="module")
def site(
    servers: OpenBao,
    azurite: Azurite,
    ministack: MiniStack,
    other_ministack: MiniStack,
    tmp_path_factory: pytest.TempPathFactory,
) -> Site:
    folder = tmp_path_factory.mktemp("four")
    bucket = f"sr-{secrets.token_hex(6)}"
    ministack.make_bucket(bucket, locking=True)
    other_ministack.make_bucket(bucket)
    with ContainerClient.from_connection_string(azurite.connection_string(), bucket) as client:
        client.create_container()
    servers.token_file(folder, "default", "kv-target")
    credentials_file(folder / "aws")
    azurite.key_file(folder / "azure")
    machine = Machine(folder / "machine")
    machine.ok("keys", "new", "--output", folder / "recovery.key")
    machine.ok("keys", "new", "--output", folder / "operators.key")
    config = CONFIG.format(
        bao=servers.address,
        s3_eu=ministack.endpoint,
        s3_us=other_ministack.endpoint,
        azure=azurite.account_url,
        bucket=bucket,
        folder=folder,
    )
    machine.path("strongroom.toml").write_text(config)
    for name, value in VALUES.items():
        machine.set(name, value, "--tag", "priority=critical")
    run = machine.ok("backup", "--policy", "everything", "--force", "--json").document
    assert run["state"] == "done", run
    signer = machine.ok("backups", "show", "s3-eu", "--json").document["signer"]
    return Site(machine=machine, folder=folder, config=config, signer=signer, backup=run["backup"])


def test_all_four_hold_the_backup_and_were_read_back(site: Site) -> None:
    replicas = site.machine.ok("backups", "replicas", "--json").document["replicas"]
    found = {r["target"]: (r["good"], r["verified"]) for r in replicas if r["backup"] == site.backup}
    assert found == dict.fromkeys(TARGETS, (True, "digest"))


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("target", TARGETS)
def test_who_may_read_the_index_alone_finds_names_on_each_target_and_opens_no_value(
    site: Site, target: str, tmp_path: Path
) -> None:
    machine = site.elsewhere(tmp_path / "other")
    key = ("--identity", site.folder / "operators.key", "--from-target", target, "--signer", site.signer)
    done = machine.ok("backups", "find", "prod/app-1?/*", "--filter-tag", "priority=critical", *key, "--json")
    found = {one["name"]: one["versions"] for one in done.document["secrets"]}
    assert found.keys() == {name for name in VALUES if name.startswith("prod/app-1")}
    assert {each[0]["backups"][0]["backup"] for each in found.values()} == {site.backup}
    assert machine.ok("backups", "history", "prod/app-10/token", *key, "--json").document["backups_read"] == 1
    refused = machine.run("backups", "find", "prod/app-1?/*", "--no-index", *key)
    assert (refused.code, "WrongKey" in refused.err) == (10, True)


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("target", TURNED)
def test_everything_comes_back_from_each_alone(site: Site, target: str, tmp_path: Path) -> None:
    machine = site.elsewhere(tmp_path / "other")
    restored = machine.ok(
        *("restore", "--from-target", target, "--full-restore", "--signer", site.signer),
        *("--identity", site.folder / "recovery.key", "--verify-after-restore", "--json"),
    ).document
    assert (restored["created"], restored["verified"]) == (len(VALUES), len(VALUES))
    for name, value in VALUES.items():
        assert machine.ok("get", name, "--show-value", "--json").document["value"] == value


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("target", TARGETS)
def test_each_replica_opens_where_it_lies(site: Site, target: str) -> None:
    found = site.machine.ok(
        "backups", "verify", target, "--identity", site.folder / "recovery.key", "--json"
    ).document
    assert (found["depth"], found["secrets"]) == ("opened", len(VALUES))


def test_the_locked_replica_is_locked_for_as_long_as_the_policy_keeps_it_and_its_index_for_a_day(
    site: Site, ministack: MiniStack
) -> None:
    client = ministack.client()
    bucket = client.list_buckets()["Buckets"]
    names = [b["Name"] for b in bucket if f'bucket = "{b["Name"]}"' in site.config]
    objects = client.list_objects_v2(Bucket=names[0])["Contents"]
    held = [client.get_object_retention(Bucket=names[0], Key=o["Key"])["Retention"] for o in objects]
    days = {
        (o["Key"].partition("/")[0], (hold["RetainUntilDate"] - o["LastModified"]).days)
        for hold, o in zip(held, objects, strict=True)
    }
    assert {hold["Mode"] for hold in held} == {"GOVERNANCE"}
    assert {kept for folder, kept in days if folder not in ("index", "ledger")} <= {399, 400}
    assert {kept for folder, kept in days if folder == "index"} <= {0, 1}
    assert {kept for folder, kept in days if folder == "ledger"} <= {365, 366}


def test_the_ledgers_head_lies_on_all_four_locked_where_they_lock_and_in_nobodys_way(
    site: Site, ministack: MiniStack, tmp_path: Path
) -> None:
    site.machine.ok("ledger", "publish")
    site.machine.ok("ledger", "publish")  # what is there already is left, under a lock too
    told = site.machine.ok("ledger", "check", "--targets", "--json").document["targets"]
    both = 2  # that of the backup's end, and this one
    assert {one["target"]: one["agree"] for one in told} == dict.fromkeys(TARGETS, both)
    named = [bucket["Name"] for bucket in ministack.client().list_buckets()["Buckets"]]
    [bucket] = [name for name in named if f'bucket = "{name}"' in site.config]
    heads = ministack.client().list_objects_v2(Bucket=bucket, Prefix="ledger/")["Contents"]
    assert len(heads) == both
    for head in heads:
        held = ministack.client().get_object_retention(Bucket=bucket, Key=head["Key"])["Retention"]
        assert (held["RetainUntilDate"] - head["LastModified"]).days in {365, 366}

    for target in TARGETS:
        machine = site.elsewhere(tmp_path / target)
        found = machine.ok("backups", "rebuild", "--from", target, "--signer", site.signer, "--json").document
        assert (found["backups"], found["refused"]) == ([site.backup], [])
    assert (
        site.machine.ok("backups", "verify", "bao", "--depth", "digest", "--json").document["depth"]
        == "digest"
    )
