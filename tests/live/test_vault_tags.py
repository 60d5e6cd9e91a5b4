"""Custom metadata that counts as tags: what a policy selects by it, and how that is told and restored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.operations.errors import NothingSelectedYet
from tests.cli.program import Machine
from tests.live.openbao import OpenBao

CONFIG = """
[vaults.main]
address = "{address}"
token_file = "{token}"
[sources.vault]
kind = "vault"
vault = "main"
mounts = ["tagged"]
destination = true
{tags}
[keys.recovery]
kind = "hpke"
public_key_file = "{home}/recovery.key.pub"
[policies.critical]
kind = "full"
source = "vault"
recipients = ["recovery"]
targets = ["region-a", "region-b", "region-c"]
tags = {{ priority = "critical" }}
"""
CUSTOM = {"priority": "critical", "owner": "shop"}


@pytest.fixture
def mount(openbao: OpenBao) -> Iterator[str]:
    made = openbao.mount("tagged")
    for name in ("db", "other"):
        openbao.put(made, name, {"password": f"CANARY-{name}"})
    openbao.call("POST", f"{made}metadata/db", {"custom_metadata": CUSTOM})
    yield made
    openbao.unmount(made)


def configured(openbao: OpenBao, folder: Path) -> Machine:
    machine = Machine(folder / "machine")
    machine.env["STRONGROOM_CONFIG"] = str(machine.path("strongroom.toml"))
    machine.path("token").write_text(openbao.token)
    machine.path("token").chmod(0o600)
    machine.ok("keys", "new", "--output", "recovery.key")
    configure(machine, openbao)
    return machine


def configure(machine: Machine, openbao: OpenBao, tags: str = "") -> None:
    text = CONFIG.format(address=openbao.address, token=machine.path("token"), home=machine.home, tags=tags)
    machine.path("strongroom.toml").write_text(text)


def test_a_policy_selects_by_custom_metadata_if_the_source_says_so_and_it_is_restored_as_it_was(
    openbao: OpenBao, mount: str, tmp_path: Path
) -> None:
    machine = configured(openbao, tmp_path)
    nothing = machine.run("backup", "--policy", "critical", "--force")
    assert nothing.failed_with(NothingSelectedYet)
    said = " ".join(nothing.err.split())
    assert "kv metadata patch -custom-metadata=tag.priority=critical MOUNT/PATH" in said
    assert 'tag_metadata = ["priority"] into [sources.vault]' in said

    configure(machine, openbao, 'tag_metadata = ["priority"]')
    machine.ok("backup", "--policy", "critical", "--force")
    openbao.call("DELETE", f"{mount}metadata/db")
    configure(machine, openbao)  # who restores need not have the setting
    words = ("--full-restore", "--partial", "--identity", "recovery.key", "--to", "vault", "--force")
    done = machine.ok("restore", *words, "--verify-after-restore", "--json").document
    assert (done["created"], done["not_done"]) == (1, 0)
    assert openbao.data(f"{mount}metadata/db")["custom_metadata"] == CUSTOM


def test_where_the_source_counts_the_metadata_already_only_what_to_type_is_said(
    openbao: OpenBao, mount: str, tmp_path: Path
) -> None:
    machine = configured(openbao, tmp_path)
    configure(machine, openbao, 'tag_metadata = ["priority"]')
    openbao.call("POST", f"{mount}metadata/db", {"custom_metadata": {}})
    nothing = machine.run("backup", "--policy", "critical", "--force")
    assert nothing.failed_with(NothingSelectedYet)
    said = " ".join(nothing.err.split())
    assert "kv metadata patch -custom-metadata=priority=critical MOUNT/PATH" in said
    assert "tag_metadata" not in said
