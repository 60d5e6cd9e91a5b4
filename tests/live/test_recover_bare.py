"""recover on a live Vault and S3: everything is lost, and what is at hand is a key, a target and the kit."""

from __future__ import annotations

import re
import shlex
import shutil
from html import unescape
from pathlib import Path

import pytest

from strongroom.errors import SourceError
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
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.ok("backup", "--policy", "monthly-full", "--force")
    machine.ok("emergency", "kit", "--output", "kit.html")
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
    beside_files: Machine, own_openbao: OpenBao
) -> None:
    site = beside_files
    done = recover(site)
    assert done.code == RunDegraded.exit_code, done
    into = {part["source"]: part["into"] for part in done.document["parts"]}
    assert into == {"vault": "recovery", "env": "local"}, done
    assert site.ok("get", "api.txt", "--show-value").out == "CANARY-file"
    assert [step["ended"] for step in done.document["steps"][:5]] == ["done"] * 5, done
    assert "1 secret cannot be restored, and is left out" in done.err
    assert "secret/app-03/db: " in done.err
    [left] = [line for line in done.document["left_to_do"] if "1 secret was not restored" in line]
    assert "Left to do: 1 thing" in done.err
    own_openbao.policy("narrow", shipped("restore"))
    typed = shlex.split(left[left.index("strongroom restore") :])[1:]
    assert "1 secret created" in site.ok(*typed, "--force").out
    assert own_openbao.data("secret/data/app-03/db")["data"] == {"password": "CANARY-3"}
    listed = own_openbao.call("LIST", "secret/metadata/")["data"]["keys"]
    assert len(listed) == MANY + 1  # one of them ends with a blank
    assert own_openbao.data("secret/data/app-07/db")["data"] == {"password": "CANARY-7"}


@pytest.mark.long  # tests/cli/test_recover_anywhere.py holds it of a directory
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


FILES = """
[sources.env]
kind = "files"
path = "env"
[policies.files]
kind = "full"
source = "env"
targets = ["eu"]
recipients = ["recovery"]
single_recipient_reason = "a test"
quorum = 1
regions = 1
"""


@pytest.fixture
def beside_files(site: Machine) -> Machine:
    """The site, with a policy of files besides; those are lost as well."""
    file = site.path("strongroom.toml")
    file.write_text(f"{file.read_text()}{FILES}")
    site.path("env").mkdir()
    site.path("env/api.txt").write_text("CANARY-file")
    site.ok("backup", "--policy", "files", "--force")
    shutil.rmtree(site.path("env"))
    return site


def test_a_source_of_which_nothing_can_be_restored_does_not_stop_the_others(
    beside_files: Machine, own_openbao: OpenBao
) -> None:
    done = recover(beside_files, "--answer", "into.env=recovery")
    assert done.code == RunDegraded.exit_code, done
    assert "api.txt: there is no KV mount for it" in done.err
    assert [step["ended"] for step in done.document["steps"][:5]] == ["done"] * 5, done
    assert any("1 secret was not restored into 'recovery'" in line for line in done.document["left_to_do"])
    assert own_openbao.data("secret/data/app-07/db")["data"] == {"password": "CANARY-7"}


def test_where_nothing_at_all_can_be_restored_it_says_so_and_is_not_done(beside_files: Machine) -> None:
    done = recover(beside_files, "--answer", "lost=env", "--answer", "into.env=recovery")
    assert done.failed_with(SourceError), done
    assert "--assess" in done.err
