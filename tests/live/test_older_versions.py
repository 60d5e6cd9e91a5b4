"""An older version that lies in a backup is found, shown and brought back to the live source, and undone."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.cli.program import Machine
from tests.live.moto import CREDENTIALS, Moto
from tests.live.openbao import OpenBao
from tests.live.test_recovery_commands import CONFIG as VAULT
from tests.live.vault_parts import RESTORE, with_policies

AWS = """
[sources.eu]
kind = "aws"
region = "eu-central-1"
endpoint_url = "{endpoint}"
profile = "backup"
[targets.disk]
kind = "directory"
path = "disk"
region = "office"
create = true
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
identity_file = "recovery.key"
[policies.eu]
kind = "full"
source = "eu"
targets = ["disk"]
recipients = ["recovery"]
single_recipient_reason = "a test"
quorum = 1
regions = 1
"""


def told_command(said: str, line: str) -> list[str]:
    """Return the words of the command that a line of an answer tells."""
    [found] = [one for one in said.splitlines() if one.startswith(line)]
    return shlex.split(found.partition(": strongroom ")[2])


def undo_of(said: str) -> list[str]:
    lines = said.splitlines()
    return shlex.split(lines[lines.index("  This undoes it:") + 1])[1:]


def made_machine(folder: Path) -> Machine:
    machine = Machine(folder)
    machine.env["STRONGROOM_CONFIG"] = str(machine.path("strongroom.toml"))
    machine.ok("keys", "new", "--output", "recovery.key")
    return machine


def test_a_vault_gets_an_older_value_back_as_a_new_version(own_openbao: OpenBao, tmp_path: Path) -> None:
    with_policies(own_openbao)
    for number in range(1, 31):
        own_openbao.put("secret/", "many", {"password": f"CANARY-{number}"})
    own_openbao.call("POST", "secret/destroy/many", {"versions": [23]})
    machine = made_machine(tmp_path / "machine")
    token = own_openbao.token_file(machine.home, "default", *RESTORE)
    machine.path("strongroom.toml").write_text(VAULT.format(address=own_openbao.address, token=token.path))
    machine.ok("backup", "--policy", "vault", "--force")

    said = machine.ok("backups", "find", "secret/many").out
    assert "21-22, 23 (destroyed), 24-29" in said
    words = told_command(said, "To bring an older one back, such as 29")
    words[words.index("29")] = "25"
    value = machine.ok("get", "secret/many", "--version", "25", "--from-target", "disk", "--show-value")
    assert "CANARY-25" in value.out
    planned = machine.ok(*words, "--dry-run").out
    assert "version 25: its value becomes the newest, above the versions there" in planned

    done = machine.ok(*words, "--overwrite-existing").out
    now = own_openbao.data("secret/data/many")
    assert (now["data"], now["metadata"]["version"]) == ({"password": "CANARY-25"}, 31)
    assert own_openbao.data("secret/data/many?version=30")["data"] == {"password": "CANARY-30"}
    machine.ok(*undo_of(done), "--force")
    assert own_openbao.data("secret/data/many")["data"] == {"password": "CANARY-30"}

    own_openbao.call("DELETE", "secret/metadata/many", None)
    machine.ok(*words)
    now = own_openbao.data("secret/data/many")
    assert (now["data"], now["metadata"]["version"]) == ({"password": "CANARY-25"}, 25)
    assert own_openbao.data("secret/data/many?version=24")["data"] == {"password": "CANARY-24"}


def test_an_account_gets_the_previous_value_back(moto: Moto, tmp_path: Path) -> None:
    api = moto.client()
    api.create_secret(Name="app/key", SecretString="CANARY-1")
    api.put_secret_value(SecretId="app/key", SecretString="CANARY-2")

    def current() -> object:
        return api.get_secret_value(SecretId="app/key", VersionStage="AWSCURRENT")["SecretString"]

    machine = made_machine(tmp_path / "machine")
    lines = [f"{name.lower()} = {value}" for name, value in CREDENTIALS.items()]
    machine.path("aws").write_text("\n".join(["[backup]", *lines, ""]))
    machine.env["AWS_SHARED_CREDENTIALS_FILE"] = str(machine.path("aws"))
    machine.path("strongroom.toml").write_text(AWS.format(endpoint=moto.endpoint))
    machine.ok("backup", "--policy", "eu", "--force")

    words = told_command(machine.ok("backups", "find", "app/key").out, "To bring an older one back")
    done = machine.ok(*words, "--overwrite-existing").out
    assert current() == "CANARY-1"
    machine.ok(*undo_of(done), "--force")
    assert current() == "CANARY-2"
