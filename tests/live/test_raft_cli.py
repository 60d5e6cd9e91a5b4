"""A server's snapshot backed up and put back by command lines alone."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.config import load_settings
from strongroom.container.errors import NotABackup, Tampered, UntrustedSigner
from strongroom.errors import SourceError, UsageError
from strongroom.operations.errors import ConfirmationRequired
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import PASSPHRASE, ROOT, Machine
from tests.cli.test_store import on_a_terminal
from tests.live.openbao import RaftServer
from tests.live.raft_parts import shipped

PASSPHRASE_GIVEN = {"STRONGROOM_PASSPHRASE": PASSPHRASE}
CONFIG = """
[vaults.main]
address = "{address}"
token_file = "{token}"

[sources.server]
kind = "raft"
vault = "main"
"""

TARGET = """
[targets.{name}]
kind = "directory"
path = "{path}"
region = "{name}"
create = true
"""
POLICY = """
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.pub"

[policies.server]
kind = "full"
source = "server"
targets = ["a", "b"]
recipients = ["recovery"]
"""


DOCUMENTS = {"snapshot-a-vault-server.md": "raft-*", "store-backups.md": "kv-*"}
"""Pages under docs/how-to, and the policies that each of them names."""


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_documents_settings_are_sound(document: str, tmp_path: Path) -> None:
    blocks = (ROOT / "docs" / "how-to" / document).read_text().split("```toml\n")[1:]
    [text] = [block.partition("```")[0] for block in blocks if "[vaults." in block]
    file = tmp_path / "strongroom.toml"
    file.write_text(text)

    found = load_settings({"HOME": str(tmp_path), "STRONGROOM_CONFIG": str(file)})
    assert {"server", "vault-eu"} & {*found.sources, *found.targets}


@pytest.fixture(scope="module")
def server() -> Iterator[RaftServer]:
    with RaftServer() as running:
        running.initialise()
        shipped(running, "raft-snapshot")
        shipped(running, "raft-restore")
        running.put("secret/", "app", {"password": "CANARY-first"})
        yield running


@pytest.fixture(scope="module")
def template(server: RaftServer, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """What :func:`machine` is a copy of."""
    made = Machine(tmp_path_factory.mktemp("template") / "machine", env=PASSPHRASE_GIVEN)
    token(made, server, "token", "raft-snapshot")
    token(made, server, "restore-token", "raft-restore")
    made.path("strongroom.toml").write_text(CONFIG.format(address=server.address, token=made.path("token")))
    made.ok("backup", "full.sr", "--source", "server", "--include-values", "--force")
    return made


@pytest.fixture
def machine(template: Machine, tmp_path: Path) -> Machine:
    """A machine that backs the server up, and one backup in ``full.sr``."""
    shutil.copytree(template.home, tmp_path / "machine", symlinks=True)
    return Machine(tmp_path / "machine", env=PASSPHRASE_GIVEN)


def token(machine: Machine, server: RaftServer, name: str, *policies: str) -> None:
    path = machine.path(name)
    path.write_text(server.new_token(*policies))
    path.chmod(0o600)


def to(server: RaftServer) -> list[str]:
    return ["--address", server.address, "--token-file", "restore-token"]


def asked_for(machine: Machine, server: RaftServer) -> str:
    """What has to be typed, as the refusal says it."""
    done = machine.run("restore", "snapshot", "--backup-file", "full.sr", *to(server))
    assert done.code == ConfirmationRequired.exit_code
    found = done.err.partition("--confirm ")[2].split()[0]
    assert found.startswith(server.call("GET", "sys/seal-status", token="")["cluster_name"] + "@")
    return found


def test_a_snapshot_is_backed_up_checked_and_put_back_and_so_is_what_was_there(
    server: RaftServer, machine: Machine
) -> None:
    checked = machine.ok("restore", "snapshot", "--backup-file", "full.sr", "--check", "--json").document
    assert checked["restored"] is False
    assert checked["snapshot"]["cluster_id"] == server.call("GET", "sys/seal-status", token="")["cluster_id"]
    server.put("secret/", "app", {"password": "CANARY-second"})

    words = ["--backup-file", "full.sr", *to(server), "--confirm", asked_for(machine, server)]
    assert server.data("secret/data/app")["data"] == {"password": "CANARY-second"}
    done = machine.ok("restore", "snapshot", *words)

    assert server.data("secret/data/app")["data"] == {"password": "CANARY-first"}
    assert "The next time it is unsealed, it needs 1 of the 1 unseal keys of generation" in done.out
    (folder,) = (machine.state / "undo").iterdir()
    assert str(folder) in done.out
    assert list((machine.state / "tmp").iterdir()) == []

    token(machine, server, "restore-token", "raft-restore")  # the old one is younger than the snapshot
    typed = done.out.partition("This brings it back")[2].partition("\n    strongroom ")[2].splitlines()[0]
    words = shlex.split(typed)
    refused = machine.run(*words, "--no-way-back")
    confirm = refused.err.partition("--confirm ")[2].split()[0]
    back = machine.ok(*words, "--no-way-back", "--confirm", confirm, "--json").document
    assert (back["restored"], back["sealed"], back["way_back"]) == (True, False, None)
    assert server.data("secret/data/app")["data"] == {"password": "CANARY-second"}


def test_a_refused_attempt_leaves_no_snapshot_of_the_server_behind(
    server: RaftServer, machine: Machine
) -> None:
    """It left the whole server, sealed, in a folder that nothing named."""
    confirm = asked_for(machine, server)
    token(machine, server, "restore-token", "raft-snapshot")  # may take one, and put none back
    refused = machine.run(
        "restore", "snapshot", "--backup-file", "full.sr", *to(server), "--confirm", confirm
    )
    assert refused.failed_with(SourceError)
    assert "The server is as it was" in " ".join(refused.err.split())
    assert not any((machine.state / "undo").glob("*/*"))


def test_a_policy_places_it_on_targets_and_each_of_them_gives_it_back(
    server: RaftServer, machine: Machine
) -> None:
    machine.ok("keys", "new", "--output", "recovery")
    config = machine.path("strongroom.toml")
    targets = "".join(TARGET.format(name=name, path=machine.path(name)) for name in ("a", "b"))
    config.write_text(f"{config.read_text()}\n{targets}\n{POLICY}")
    machine.ok("backup", "--policy", "server", "--force")

    for target in ("a", "b"):
        words = ("--from-target", target, "--identity", "recovery", "--check", "--json")
        about = machine.ok("restore", "snapshot", *words).document["snapshot"]
        assert about["entries"] > about["logical"] > 0


def test_a_server_is_put_back_from_targets_on_which_newer_backups_are_no_snapshots(
    server: RaftServer, machine: Machine
) -> None:
    """The newest backup there was taken whatever it was, and refused as no snapshot."""
    machine.ok("keys", "new", "--output", "recovery")
    machine.set("APP_TOKEN", "CANARY-local")
    config = machine.path("strongroom.toml")
    targets = "".join(TARGET.format(name=name, path=machine.path(name)) for name in ("a", "b"))
    local = POLICY.replace('public_key_file = "recovery.pub"', "").partition("[policies.server]")[2]
    local = local.replace('source = "server"', 'source = "local"')
    local = f'[sources.local]\nkind = "local"\n[policies.local]\n{local}'
    config.write_text(f"{config.read_text()}\n{targets}\n{POLICY}\n{local}")
    server.put("secret/", "app", {"password": "CANARY-before"})
    for policy in ("server", "local"):
        machine.ok("backup", "--policy", policy, "--force")
    server.put("secret/", "app", {"password": "CANARY-after"})

    words = ["--from-target", "a", "--from-target", "b", "--identity", "recovery"]
    asked = machine.run("restore", "snapshot", *words, *to(server))
    assert asked.code == ConfirmationRequired.exit_code
    confirm = asked.err.partition("--confirm ")[2].split()[0]
    done = machine.ok("restore", "snapshot", *words, *to(server), "--confirm", confirm)
    assert "newer, skipped" in done.err
    assert "of policy 'local'" in done.err
    assert "it is no snapshot of a server" in " ".join(done.err.split())
    assert server.data("secret/data/app")["data"] == {"password": "CANARY-before"}


def test_a_configured_server_is_named(server: RaftServer, machine: Machine) -> None:
    done = machine.run(
        "restore", "snapshot", "--backup-file", "full.sr", "--vault", "main", "--confirm", "yes"
    )
    assert done.code == ConfirmationRequired.exit_code
    done = machine.run("restore", "snapshot", "--backup-file", "full.sr", "--vault", "none")
    assert done.code == UsageError.exit_code


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--backup-file", "full.sr"),
        ("--backup-file", "full.sr", "--address", "http://127.0.0.1:1"),
        ("--backup-file", "full.sr", "--address", "http://127.0.0.1:1", "--vault", "main"),
        ("--backup-file", "full.sr", "--force"),
    ],
    ids=" ".join,
)
def test_what_is_said_by_halves_is_refused(machine: Machine, words: tuple[str, ...]) -> None:
    assert machine.run("restore", "snapshot", *words).code == UsageError.exit_code


def test_no_word_goes_on_but_the_cluster_and_the_index(server: RaftServer, machine: Machine) -> None:
    before = server.data("secret/data/app")
    for word in ("yes", "y", "--force", ""):
        done = machine.run(
            "restore", "snapshot", "--backup-file", "full.sr", *to(server), f"--confirm={word}"
        )
        assert done.code == ConfirmationRequired.exit_code
        assert "Traceback" not in done.err
    assert server.data("secret/data/app") == before


def test_on_a_terminal_the_cluster_is_asked_for_after_what_would_come_back(
    server: RaftServer, machine: Machine
) -> None:
    before = server.data("secret/data/app")
    words = ("restore", "snapshot", "--backup-file", "full.sr", *to(server))
    code, shown = on_a_terminal(machine, *words, typed=b"yes\n")

    assert code == ConfirmationRequired.exit_code
    assert "1 of the 1 unseal keys of generation" in shown.partition("To go on, type")[0]
    assert server.data("secret/data/app") == before


def test_a_backup_of_secrets_a_foreign_signer_and_a_changed_file_are_refused(
    server: RaftServer, machine: Machine, tmp_path: Path
) -> None:
    machine.set("APP", "CANARY-secret")
    machine.seal("secrets.sr")
    other = Machine(tmp_path / "other", env={"STRONGROOM_PASSPHRASE": PASSPHRASE})
    changed = bytearray(machine.path("full.sr").read_bytes())
    changed[len(changed) // 2] ^= 1
    machine.path("changed.sr").write_bytes(changed)

    assert (
        machine.run("restore", "snapshot", "--backup-file", "secrets.sr", "--check").code
        == NotABackup.exit_code
    )
    assert (
        machine.run("restore", "snapshot", "--backup-file", "changed.sr", "--check").code
        == Tampered.exit_code
    )
    foreign = other.run("restore", "snapshot", "--backup-file", machine.path("full.sr"), "--check")
    assert foreign.code == UntrustedSigner.exit_code


def test_another_cluster_has_to_be_meant_and_is_sealed_then(server: RaftServer, machine: Machine) -> None:
    with RaftServer() as new:
        new.initialise()
        machine.path("restore-token").write_text(new.token)
        name = new.call("GET", "sys/seal-status", token="")["cluster_name"]
        about = json.loads(
            machine.ok("restore", "snapshot", "--backup-file", "full.sr", "--check", "--json").out
        )
        index = about["snapshot"]["index"]
        words = ["--backup-file", "full.sr", *to(new), "--confirm", f"{name}@{index}"]

        assert machine.run("restore", "snapshot", *words).code == WouldOverwrite.exit_code
        done = machine.ok("restore", "snapshot", *words, "--foreign-keys")
        assert "SEALED" in done.out
        assert "restart its process" in done.out

        again = machine.run("restore", "snapshot", *words, "--foreign-keys")
        assert again.code == SourceError.exit_code
        assert "sealed" in again.err
        new.kill()
        new.start()
        new.keys, new.token = server.keys, server.token
        new.unseal()
        assert new.data("secret/data/app")["data"]["password"].startswith("CANARY")


def test_the_parts_of_a_snapshot_are_not_restored_as_if_they_were_secrets(machine: Machine) -> None:
    done = machine.run("restore", "--backup-file", "full.sr", "--full-restore")
    assert done.code == UsageError.exit_code
    assert "strongroom restore snapshot" in done.err
    assert done.out == "", "nothing was begun, so nothing goes on"
    assert machine.ok("list", "--json").document["secrets"] == []
