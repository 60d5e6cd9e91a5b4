"""Of a Vault under three policies the right backup is taken, and less is never taken for all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.operations.errors import LessThanKnown
from tests.cli.program import Machine
from tests.cli.test_right_backup import words_of
from tests.live.openbao import OpenBao

SOURCE = """
[vaults.prod]
address = "{address}"
token_file = "{token}"
requests_per_second = 2000
[sources.vault]
kind = "vault"
vault = "prod"
mounts = ["right/"]
system = false
destination = true
"""
POLICIES = """
[targets.disk]
kind = "directory"
path = "disk"
region = "office"
create = true
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
identity_file = "recovery.key"
[policies.monthly-full]
kind = "full"
source = "vault"
targets = ["disk"]
recipients = ["recovery"]
single_recipient_reason = "a test"
quorum = 1
regions = 1
[policies.weekly-critical]
kind = "full"
source = "vault"
targets = ["disk"]
recipients = ["recovery"]
single_recipient_reason = "a test"
quorum = 1
regions = 1
tags = { priority = "critical" }
[policies.daily-metadata]
kind = "metadata"
source = "vault"
targets = ["disk"]
quorum = 1
regions = 1
"""
COUNT = 12
PLAIN, CRITICAL = "app-00/db", "app-11/db"


@pytest.fixture
def site(openbao: OpenBao, tmp_path: Path) -> Iterator[Machine]:
    """A Vault with a critical secret among others: the newest backups are of that one, and without values."""
    openbao.mount("right")
    for number in range(COUNT):
        openbao.put("right/", f"app-{number:02}/db", {"password": f"CANARY-{number}"})
    openbao.call("POST", f"right/metadata/{CRITICAL}", {"custom_metadata": {"tag.priority": "critical"}})
    machine = Machine(tmp_path / "machine")
    machine.env["STRONGROOM_CONFIG"] = str(machine.path("strongroom.toml"))
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(source(openbao, machine) + POLICIES)
    for policy in ("monthly-full", "weekly-critical", "daily-metadata"):
        machine.ok("backup", "--policy", policy, "--force")
    yield machine
    openbao.unmount("right/")


def source(bao: OpenBao, machine: Machine) -> str:
    machine.path("token").write_text(bao.token)
    machine.path("token").chmod(0o600)
    return SOURCE.format(address=bao.address, token=machine.path("token"))


def monthly(machine: Machine) -> list[str]:
    """Return the backups of everything, the oldest first."""
    found = machine.ok("backups", "list", "--json").document["backups"]
    return sorted(one["backup"] for one in found if one["policy"] == "monthly-full")


def is_back(bao: OpenBao, name: str, number: int) -> bool:
    found: object = bao.data(f"right/data/{name}")["data"]
    return found == {"password": f"CANARY-{number}"}


def test_one_secret_that_is_not_critical_comes_back_from_the_older_backup_of_everything(
    site: Machine, openbao: OpenBao, tmp_path: Path
) -> None:
    [whole] = monthly(site)
    other = Machine(tmp_path / "other")
    shutil.copytree(site.path("disk"), other.path("copy"))
    shutil.copy(site.path("recovery.key"), other.path("recovery.key"))
    other.env["STRONGROOM_CONFIG"] = str(other.path("strongroom.toml"))
    other.path("strongroom.toml").write_text(source(openbao, other))
    signer = site.ok("backups", "list", "--from-target", "disk", "--json").document["backups"][0]["signer"]
    bare = ("--from-target", "copy", "--identity", "recovery.key", "--signer", signer)
    secret = ("restore", "--secret-name", f"right/{PLAIN}")

    for machine, words in ((site, ()), (site, ("--from-target", "disk")), (other, bare)):
        openbao.call("DELETE", f"right/metadata/{PLAIN}")
        into = machine.ok(*secret, *words, "--to", "vault")
        assert whole in words_of(into)
        assert is_back(openbao, PLAIN, 0)
        assert whole in words_of(machine.ok(*secret, *words))
        assert "CANARY-0" in machine.ok("get", f"right/{PLAIN}", "--show-value").out
        machine.ok("secrets", "delete", f"right/{PLAIN}", "--force")


def test_after_a_mass_deletion_that_a_backup_has_seen_everything_comes_back_by_what_is_said(
    site: Machine, openbao: OpenBao
) -> None:
    [sound] = monthly(site)
    for number in range(10):
        openbao.call("DELETE", f"right/metadata/app-{number:02}/db")
    assert site.run("backup", "--policy", "monthly-full", "--force").code == 70
    shrunk = monthly(site)[-1]

    words = ("restore", "--full-restore", "--to", "vault", "--force")
    done = site.run(*words)
    assert done.failed_with(LessThanKnown), done
    said = words_of(done)
    assert f"from backup {shrunk}" in said
    assert "it holds 2 secrets where 12 were expected" in said
    assert f"backup {sound}" in said
    assert "--fill-from-earlier" in said
    assert "'right/app-00/db'" in said
    found = site.ok("backups", "find", f"right/{PLAIN}").out
    assert f"'right/{PLAIN}' is not in backup {shrunk}, the newest of source 'vault': it holds 2" in found

    filled = site.ok(*words, "--fill-from-earlier", "--verify-after-restore", "--json").document
    assert (filled["created"], filled["verified"]) == (10, COUNT)
    assert all(is_back(openbao, f"app-{number:02}/db", number) for number in range(COUNT))
