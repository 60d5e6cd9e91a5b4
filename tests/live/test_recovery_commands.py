"""Before and after a recovery, on a live Vault, under the shipped policies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from strongroom.container.errors import VerificationFailed
from strongroom.errors import UsageError
from strongroom.operations.errors import RefusalMissing, RightMissing
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import Machine
from tests.live.openbao import OpenBao
from tests.live.vault_parts import READ, RESTORE, shipped, with_policies

CONFIG = """
[vaults.prod]
address = "{address}"
token_file = "{token}"
requests_per_second = 2000
[sources.prod]
kind = "vault"
vault = "prod"
mounts = ["secret/"]
system = false
[targets.disk]
kind = "directory"
path = "disk"
region = "office"
create = true
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
identity_file = "recovery.key"
[policies.vault]
kind = "full"
source = "prod"
targets = ["disk"]
recipients = ["recovery"]
single_recipient_reason = "a test"
quorum = 1
regions = 1
"""


@pytest.fixture
def site(own_openbao: OpenBao, tmp_path: Path) -> Machine:
    with_policies(own_openbao)
    for number in range(30):
        own_openbao.put("secret/", f"app-{number:02}/db", {"password": f"CANARY-{number}"})
    machine = Machine(tmp_path / "machine")
    machine.env["STRONGROOM_CONFIG"] = str(machine.path("strongroom.toml"))
    machine.ok("keys", "new", "--output", "recovery.key")
    log_in(machine, own_openbao, *READ)
    machine.ok("backup", "--policy", "vault", "--force")
    return machine


def log_in(machine: Machine, bao: OpenBao, *policies: str) -> None:
    folder = machine.path("-".join(policies))
    folder.mkdir()
    token = bao.token_file(folder, "default", *policies)
    machine.path("strongroom.toml").write_text(CONFIG.format(address=bao.address, token=token.path))


def test_a_vault_is_validated_and_a_role_that_may_only_read_cannot_recover(
    site: Machine, own_openbao: OpenBao
) -> None:
    reading = site.run("check", "machine")
    assert reading.failed_with(RightMissing)
    assert "a restore lacks rights there: create, update secret/" in reading.out
    log_in(site, own_openbao, *RESTORE)
    ready = site.ok("check", "machine")
    assert "that secrets are written to may be written" in ready.out

    assert site.run("list", "--verify-clean", "--source", "prod").failed_with(WouldOverwrite)
    same = site.ok("check", "secrets", "--production", "--json").document["policies"][0]
    assert (same["depth"], same["compared"]["same"]) == ("values", 30)
    own_openbao.put("secret/", "app-03/db", {"password": "changeme"})
    own_openbao.call("DELETE", "secret/metadata/app-07/db")
    done = site.run("check", "secrets", "--source", "prod", "--from-target", "disk", "--json")
    assert done.failed_with(VerificationFailed)
    assert {(one["secret"], one["check"]) for one in done.document["findings"]} == {
        ("secret/app-03/db", "placeholder"),
        ("secret/app-03/db", "differs"),
        ("secret/app-07/db", "missing"),
    }
    own_openbao.unmount("secret")
    own_openbao.mount("secret")
    site.ok("list", "--verify-clean", "--source", "prod")
    assert site.run("check", "secrets", "--production").failed_with(VerificationFailed)
    restore = ("restore", "--to", "prod", "--from-target", "disk", "--full-restore", "--force")
    site.ok(*restore)
    site.ok("check", "secrets", "--production")
    for each in (reading, ready, done):
        assert "CANARY" not in each.out + each.err


@pytest.mark.parametrize(
    "data", ["", 'path "secret/data/ok/*" { capabilities = ["create", "read", "update"] }']
)
def test_a_destination_that_takes_no_values_or_only_some_is_not_ready(
    site: Machine, own_openbao: OpenBao, data: str
) -> None:
    """With all rights to secret/data taken away the check once said that this machine could recover."""
    text = "".join(re.sub(r'path "(\+/)+data/.*', "", shipped(name)) for name in RESTORE)
    own_openbao.policy("narrow", text + data)
    log_in(site, own_openbao, "narrow")
    done = site.run("check", "machine")
    assert done.failed_with(RightMissing)
    assert "secret/data/*" in done.out
    assert "This machine could not recover now" in done.out


@pytest.mark.parametrize("system", ["false", pytest.param("true", marks=pytest.mark.long)])
def test_a_source_marked_as_a_destination_is_judged_by_what_a_restore_needs(
    site: Machine, own_openbao: OpenBao, system: str
) -> None:
    """Its rights to write were called too many, in 51 lines."""
    log_in(site, own_openbao, *READ, "restore", *(["restore-system"] if system == "true" else []))
    words = ("check", "rights", "prod", "--json")
    assert site.run(*words).failed_with(RefusalMissing)
    config = site.path("strongroom.toml")
    config.write_text(config.read_text().replace("system = false", f"system = {system}\ndestination = true"))
    fitting = site.ok(*words).document["probes"][0]["checks"]
    assert {check["outcome"] for check in fitting} == {"fine"}
    reading = own_openbao.token_file(site.path("."), "default", *READ)
    config.write_text(re.sub('token_file = ".*"', f'token_file = "{reading.path}"', config.read_text()))
    lacking = site.run(*words)
    assert lacking.failed_with(RightMissing)
    assert "secret/data/*" in lacking.out
    told = site.run("check", "machine", "--to", "prod", "--json")
    [one] = [each for each in told.document["checks"] if each["check"] == "destination"]
    assert told.failed_with(RightMissing)
    assert one["target"] == "prod"
    assert one["code"] == "RightMissing"
    assert site.run("check", "machine", "--to", "nobody").failed_with(UsageError)
