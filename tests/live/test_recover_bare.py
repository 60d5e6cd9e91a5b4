"""recover on a live Vault and S3: everything is lost, and what is at hand is a key, a target and the kit."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path

import pytest

from strongroom.operations.errors import RunDegraded
from tests.cli.program import Done, Machine
from tests.live.moto import CREDENTIALS, Moto
from tests.live.openbao import OpenBao
from tests.live.vault_parts import READ, shipped, with_policies

TARGET = """
[targets.eu]
kind = "s3"
bucket = "recover-bare"
region = "eu-central-1"
endpoint_url = "{s3}"
credentials_file = "{credentials}"
"""
VAULTS = """
[vaults.prod]
address = "{address}"
token_file = "{reading}"
requests_per_second = 2000
[vaults.recovery]
address = "{address}"
token_file = "{writing}"
requests_per_second = 2000
[sources.vault]
kind = "vault"
vault = "prod"
mounts = ["secret/"]
system = false
[sources.recovery]
kind = "vault"
vault = "recovery"
mounts = ["secret/"]
system = false
destination = true
"""
POLICY = """
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
[policies.monthly-full]
kind = "full"
source = "vault"
targets = ["eu"]
recipients = ["recovery"]
single_recipient_reason = "a test"
quorum = 1
regions = 1
"""
DENIED = 'path "secret/data/app-03/db" { capabilities = ["deny"] }'
MANY, BLANK = 12, "trail%20"
"""Secrets in the Vault, and the path of one whose name ends with a blank."""


@pytest.fixture
def site(own_openbao: OpenBao, moto: Moto, tmp_path: Path) -> Machine:
    """A Vault whose backup lies in S3; the login that backs up may only read."""
    with_policies(own_openbao)
    own_openbao.policy("narrow", f"{shipped('restore')}\n{DENIED}")
    for number in range(MANY):
        own_openbao.put("secret/", f"app-{number:02}/db", {"password": f"CANARY-{number}"})
    own_openbao.put("secret/", BLANK, {"password": "CANARY-blank"})
    machine = Machine(tmp_path / "machine")
    credentials = machine.path("credentials")
    credentials.write_text(
        "[default]\n" + "".join(f"{name} = {value}\n" for name, value in CREDENTIALS.items())
    )
    credentials.chmod(0o600)
    location = {"LocationConstraint": "eu-central-1"}
    moto.client("s3").create_bucket(Bucket="recover-bare", CreateBucketConfiguration=location)
    files = {}
    for name, policies in {"reading": READ, "writing": (*READ, "narrow")}.items():
        (folder := machine.path(name)).mkdir()
        files[name] = own_openbao.token_file(folder, "default", *policies).path
    text = TARGET.format(s3=moto.endpoint, credentials=credentials)
    machine.path("target.toml").write_text(text)
    vaults = VAULTS.format(address=own_openbao.address, **files)
    machine.path("strongroom.toml").write_text(f"{text}{vaults}{POLICY}")
    machine.ok("keygen", "--output", "recovery.key")
    machine.ok("backup", "--policy", "monthly-full", "--force")
    machine.ok("recovery-kit", "--output", "kit.html")
    for number in range(MANY):
        own_openbao.call("DELETE", f"secret/metadata/app-{number:02}/db")
    own_openbao.call("DELETE", f"secret/metadata/{BLANK}")
    return machine


def new_machine(site: Machine, folder: Path, *files: str) -> Machine:
    machine = Machine(folder)
    for name in ("recovery.key", *files):
        shutil.copy(site.path(name), machine.path(name))
    return machine


def recover(machine: Machine, *words: str) -> Done:
    answers = ("--identity", "recovery.key", "--answer", "restore=yes", "--json")
    done = machine.run("recover", *answers, *words)
    assert "CANARY" not in done.out + done.err
    return done


def signer_on(kit: Path) -> str:
    signer: str
    [signer] = set(re.findall(r"--signer (sr1:\S+)", unescape(kit.read_text())))
    return signer


def test_a_lost_vault_comes_back_by_the_login_that_may_write_but_what_that_may_not(
    site: Machine, own_openbao: OpenBao
) -> None:
    done = recover(site)
    assert done.code == RunDegraded.exit_code, done
    assert [part["into"] for part in done.document["parts"]] == ["recovery"]
    assert [step["ended"] for step in done.document["steps"][:5]] == ["done"] * 5, done
    assert "1 secret cannot be restored, and is left out" in done.err
    assert "secret/app-03/db: " in done.err
    assert any("1 secret was not restored" in line for line in done.document["left_to_do"])
    listed = own_openbao.call("LIST", "secret/metadata/")["data"]["keys"]
    assert len(listed) == MANY  # one of them was refused, and one ends with a blank
    assert own_openbao.data("secret/data/app-07/db")["data"] == {"password": "CANARY-7"}


@pytest.mark.parametrize("words", [(), ("--from-target", "eu")], ids=["configured", "named"])
def test_a_new_machine_recovers_from_a_configured_s3_target_alone(
    site: Machine, tmp_path: Path, words: tuple[str, ...]
) -> None:
    machine = new_machine(site, tmp_path / "new", "target.toml")
    machine.path("target.toml").rename(machine.path("strongroom.toml"))
    signer = signer_on(site.path("kit.html"))
    dry = machine.ok(
        "restore", "--full-restore", "--dry-run", "--identity", "recovery.key", "--signer", signer
    )
    assert f"{MANY + 1} secrets would be created" in dry.out
    done = recover(machine, "--signer", signer, *words)
    assert (done.code, done.document["outcome"]) == (0, "passed"), done
    assert len(machine.ok("list", "--json").document["secrets"]) == MANY + 1
