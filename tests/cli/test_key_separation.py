"""What must not be together is refused, or said, whatever a person answers or forces."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.cli.errors import UnsafeSetup
from strongroom.config.schema import ConfigProblems
from strongroom.keys.errors import KeyServiceUnavailable
from tests.cli.program import Machine

TARGET = '[targets.t]\nkind = "directory"\npath = "target"\nregion = "r"\ncreate = true\n'
VAULT = """
[vaults.main]
address = "http://127.0.0.1:9"
token_file = "token"
[sources.live]
kind = "vault"
vault = "main"
[keys.own]
kind = "transit"
vault = "main"
key = "k"
[keys.pair]
kind = "hpke"
public_key_file = "pair.pub"
[keys.both]
kind = "all-of"
legs = [["own"], ["pair"]]
"""


@pytest.mark.parametrize("command", ["keys new", "generate-backup-key"])
@pytest.mark.parametrize("place", ["target", "target/deep", "link"])
def test_a_key_is_not_made_where_backups_lie(machine: Machine, command: str, place: str) -> None:
    machine.path("strongroom.toml").write_text(TARGET)
    machine.path("target/deep").mkdir(parents=True)
    machine.path("link").symlink_to("target/deep")

    done = machine.run(*command.split(), "--output", f"{place}/some.key", "--json")

    assert done.failed_with(UnsafeSetup)
    assert done.document["error"]["code"] == "UnsafeSetup"
    assert "would be on the target 't'" in done.err
    assert not list(machine.home.rglob("some.key*"))


def test_a_key_beside_a_backup_file_is_named(stocked: Machine) -> None:
    stocked.path("safe").mkdir()
    stocked.ok("keys", "new", "--output", "safe/some.key")
    words = ("--include-values", "--force", "--recipient", "safe/some.key.pub")

    assert "is a private key" not in stocked.ok("backup", "full.sr", *words).err
    said = stocked.ok("backup", "safe/full.sr", *words).err
    assert f"some.key in {stocked.path('safe')} is a private key" in " ".join(said.split())


def test_a_key_on_a_target_is_found_by_diagnose(machine: Machine) -> None:
    machine.ok("keys", "new", "--output", "some.key")
    machine.path("target").mkdir()
    text = TARGET + '[keys.k]\nkind = "hpke"\npublic_key_file = "some.key.pub"\n'
    machine.path("strongroom.toml").write_text(text)
    assert machine.run("check", "keys", "--no-backups").code == 0
    machine.path("target/keys").mkdir()
    Path(machine.path("some.key")).rename(machine.path("target/keys/old"))

    done = machine.run("check", "keys", "--no-backups", "--json")

    assert done.failed_with(UnsafeSetup)
    assert [(remark["about"], remark["wrong"]) for remark in done.document["remarks"]] == [
        ("targets.t", True)
    ]
    assert "keys/old is a private key" in done.document["remarks"][0]["text"]


@pytest.mark.parametrize(
    "recipients", [(), ("own",), ("both",), ("own", "both")], ids=["all", "own", "both", "own and both"]
)
def test_a_backup_of_a_vault_that_only_that_vault_could_open_is_refused(
    machine: Machine, recipients: tuple[str, ...]
) -> None:
    machine.ok("keys", "new", "--output", "pair")
    machine.path("token").write_text("CANARY-TOKEN")
    machine.path("token").chmod(0o600)
    text = VAULT if recipients else VAULT.partition("[keys.pair]")[0]
    machine.path("strongroom.toml").write_text(text)
    words = [word for name in recipients for word in ("--recipient", name)]

    done = machine.run("backup", "full.sr", "--source", "live", "--include-values", "--force", *words)

    assert done.failed_with(UnsafeSetup), done
    assert "Only the Vault that is backed up could open the backup" in done.err
    assert not machine.path("full.sr").exists()
    if recipients == ("both",):  # with another way in it goes on, to the key's server that is not there
        other = machine.run(
            "backup",
            "full.sr",
            "--source",
            "live",
            "--include-values",
            "--force",
            *words,
            "--recipient",
            "pair",
        )
        assert other.failed_with(KeyServiceUnavailable), other


FORCED = {
    "a key on the target": ('file = "target/k"', "", "a secret must never lie with the backups"),
    "a key alone": ('file = "k"', 'schedule = "0 3 * * 0"', "one loss would close these backups permanently"),
}


@pytest.mark.parametrize("what", FORCED)
def test_force_allows_no_unsafe_set_up(machine: Machine, what: str) -> None:
    key, schedule, said = FORCED[what]
    policy = '[policies.p]\nkind = "full"\ntargets = ["t"]\nquorum = 1\nregions = 1\nrecipients = ["k"]\n'
    machine.path("strongroom.toml").write_text(
        f'{TARGET}[keys.k]\nkind = "keyfile"\n{key}\n{policy}{schedule}\n'
    )

    done = machine.run("backup", "--policy", "p", "--force", "--json")

    assert done.failed_with(ConfigProblems)
    assert done.document["error"]["code"] == "ConfigProblems"
    assert said in done.document["error"]["message"]
    assert not machine.path("target").exists()
