"""Rotating the secrets of a Vault whose backup login may only read; and an incident over such a Vault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.operations.errors import SecretNotRotated
from tests.cli.program import Machine
from tests.live.openbao import OpenBao, dev_server
from tests.live.vault_parts import RESTORE, with_policies

COUNT = 12
CONFIG = """
[vaults.reading]
address = "{address}"
token_file = "{home}/reading"
[vaults.writing]
address = "{address}/"
token_file = "{home}/writing"
[sources.vault]
kind = "vault"
vault = "reading"
{recovery}
[keys.old]
kind = "hpke"
public_key_file = "{home}/old.key.pub"
identity_file = "{home}/old.key"
[keys.new]
kind = "hpke"
public_key_file = "{home}/new.key.pub"
[policies.all]
kind = "full"
source = "vault"
targets = ["region-a", "region-b", "region-c"]
recipients = ["{recipient}"]
[rotators.everything]
kind = "random"
include = ["*"]
"""
RECOVERY = '[sources.recovery]\nkind = "vault"\nvault = "writing"\ndestination = true\n'


@pytest.fixture
def server() -> Iterator[OpenBao]:
    with dev_server() as running:
        with_policies(running)
        for number in range(COUNT):
            running.put("secret/", f"app/{number:02}", {"password": f"CANARY-{number}"})
        yield running


@pytest.fixture
def machine(server: OpenBao, tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "machine")
    made.env["STRONGROOM_CONFIG"] = str(made.path("strongroom.toml"))
    for name, policies in (("reading", ["backup-read"]), ("writing", RESTORE)):
        made.path(name).write_text(server.new_token(*policies))
        made.path(name).chmod(0o600)
    for key in ("old", "new"):
        made.ok("keys", "new", "--output", f"{key}.key")
    return made


def configure(machine: Machine, server: OpenBao, *, recipient: str = "old", recovery: str = RECOVERY) -> None:
    text = CONFIG.format(address=server.address, home=machine.home, recipient=recipient, recovery=recovery)
    machine.path("strongroom.toml").write_text(text)


def passwords(server: OpenBao) -> set[str]:
    return {server.data(f"secret/data/app/{number:02}")["data"]["password"] for number in range(COUNT)}


def test_an_incident_over_a_vault_comes_to_its_end(machine: Machine, server: OpenBao) -> None:
    """Mounts, policies and auth methods of the server are in the backup too: nothing can rotate them, nor
    has to. The login that makes backups may only read, so the one for restores writes."""
    configure(machine, server)
    machine.ok("backup", "--policy", "all", "--force")
    before = passwords(server)
    configure(machine, server, recipient="new")
    machine.ok("incident", "open", "--key", "old", "--reason", "lost laptop", "--force")
    done = machine.ok("incident", "rotate", "--force", "--secrets", "left.json", "--json").document
    step = next(one for one in done["steps"] if one["step"] == "rotate")
    assert (step["state"], step["counts"]["rotated"]) == ("done", COUNT)
    assert json.loads(machine.path("left.json").read_text()) == {}
    assert any("settings of a server" in line for line in step["left"])
    assert not passwords(server) & before
    machine.ok("incident", "report")
    machine.ok("incident", "close", "--identity", "new.key")


def test_a_login_that_may_not_write_is_told_once_and_in_words_of_a_rotation(
    machine: Machine, server: OpenBao
) -> None:
    configure(machine, server, recovery="")
    before = passwords(server)
    words = ("secrets", "rotate", "--include", "secret/app/*", "--reason", "a test", "--force")
    refused = machine.run(*words)
    assert refused.failed_with(SecretNotRotated)
    assert refused.out.count("status 403") == 1
    assert "and 9 more: the new value could not be written" in refused.out
    assert refused.out.count("'destination' of the rotator") == 1
    assert "restore" not in refused.out
    assert passwords(server) == before


def test_a_rotator_names_who_writes_where_several_could(machine: Machine, server: OpenBao) -> None:
    other = RECOVERY.replace("sources.recovery", "sources.other")
    configure(machine, server, recovery=RECOVERY + other)
    words = ("secrets", "rotate", "secret/app/00", "--source", "vault", "--reason", "a test", "--force")
    assert machine.run(*words).failed_with(SecretNotRotated)
    config = machine.path("strongroom.toml")
    config.write_text(f'{config.read_text()}source = "vault"\ndestination = "other"\n')
    machine.ok(*words)
    assert "CANARY-0" not in passwords(server)
