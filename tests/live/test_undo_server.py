"""The restore of a whole OpenBao is undone under exactly the shipped policies; what stays is by design."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.operations.errors import RightMissing
from tests.cli.program import Machine
from tests.live.certificates import make_certificate
from tests.live.openbao import OpenBao, dev_server
from tests.live.test_vault_policies import _fill_system as fill_system
from tests.live.test_vault_policies import _mounts as fill_mounts
from tests.live.vault_parts import RESTORE, shipped

CONFIG = """
[vaults.bao]
address = "{address}"
token_file = "{token}"
[sources.bao]
kind = "vault"
vault = "bao"
"""
WHOLE = ("--backup-file", "full.sr", "--full-restore", "--to", "bao", "--force", "--identity", "k", "--json")


OURS = 'path "ours/*" { capabilities = ["read"] }'


class Whole:
    """A machine with a backup of a server, and an empty server into which all of it was restored."""

    def __init__(self, folder: Path, server: OpenBao) -> None:
        self.machine, self.server = Machine(folder / "machine"), server
        self.machine.env["STRONGROOM_CONFIG"] = str(self.machine.path("strongroom.toml"))
        self.machine.ok("keys", "new", "--output", "k")
        with dev_server() as lost:
            lost.namespace("team")
            certificate = make_certificate(folder)[0].read_text()
            for namespace in ("", "team"):
                fill_system(lost, namespace, certificate)
                fill_mounts(lost, namespace)
                lost.call("POST", "sys/policies/acl/ours", {"policy": OURS}, namespace=namespace)
            self.configure(lost, lost.token)
            words = ("--source", "bao", "--include-values", "--recipient", "k.pub", "--force")
            self.machine.ok("backup", "full.sr", *words)
        server.unmount("secret")
        for name in RESTORE:
            server.policy(name, shipped(name))
        self.allow("backup-read", "restore", "restore-system")
        self.before = self.told()
        [command] = self.machine.ok("restore", *WHOLE).document["undo_by"]
        self.run = str(command.split()[3])

    def configure(self, server: OpenBao, token: str) -> None:
        file = self.machine.path("token")
        file.write_text(token)
        file.chmod(0o600)
        self.machine.path("strongroom.toml").write_text(CONFIG.format(address=server.address, token=file))

    def allow(self, *policies: str) -> None:
        self.configure(self.server, self.server.new_token(*policies))

    def undo(self, *words: str) -> Any:
        return self.machine.run("restore", "undo", self.run, "--identity", "k", "--force", "--json", *words)

    def told(self) -> dict[str, Any]:
        """What the server says that there is, but for what a restore of policies was given beforehand."""
        policies = set(self.server.call("LIST", "sys/policies/acl")["data"]["keys"])
        return {"policies": policies, "mounts": set(self.server.data("sys/mounts"))}


@pytest.fixture
def whole(tmp_path: Path, own_openbao: OpenBao) -> Iterator[Whole]:
    return Whole(tmp_path, own_openbao)


def by_action(document: dict[str, Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in document["secrets"]:
        found.setdefault(entry["action"], set()).add(entry["to"])
    return found


def test_the_shipped_policies_are_enough_and_the_dry_run_says_what_is_done(whole: Whole) -> None:
    whole.allow(*RESTORE)
    dry = whole.undo("--dry-run")
    assert dry.code == 0, dry
    planned = by_action(dry.document)
    done = whole.undo()
    assert done.code == 0, done
    counts = ("changed", "created", "removed", "unchanged", "left", "not_done")
    assert [done.document[word] for word in counts] == [dry.document[word] for word in counts]
    stays = {name for names in done.document["stays"].values() for name in names}
    assert (len(planned["remove"]), planned["stay"]) == (done.document["removed"], stays)
    assert (done.document["left"], done.document["not_done"]) == (0, 0)
    assert {"sys/namespaces/team", "sys/auth/approle", "auth/jwt/config"} <= stays
    assert all("/kv1/" not in name and "role" not in name.split("/") for name in stays)
    assert whole.told() == whole.before


def test_what_the_token_may_not_remove_stops_nothing_else_and_a_repeat_finishes(whole: Whole) -> None:
    whole.allow("backup-read", "restore", "restore-system", "restore-undo")
    dry = whole.undo("--dry-run")
    assert dry.failed_with(RightMissing)
    planned = by_action(dry.document)
    assert planned["cannot"]
    assert all(any(part in name for part in ("sys/", "auth/")) for name in planned["cannot"])
    done = whole.undo()
    assert done.failed_with(RightMissing)
    document = done.document
    assert {one["name"] for one in document["not_done_names"]} == planned["cannot"]
    assert (document["removed"], document["left"]) == (len(planned["remove"]), 0)
    assert document["removed"] == 12
    assert "--exclude" in done.err
    whole.allow(*RESTORE)
    again = whole.undo()
    assert again.code == 0, again
    assert (again.document["removed"], again.document["already"]) == (len(planned["cannot"]), 12)
    assert whole.told() == whole.before


def test_a_part_is_undone_alone_and_the_rest_afterwards(whole: Whole) -> None:
    whole.allow("backup-read", "restore", "restore-system", "restore-undo")
    part = whole.undo("--exclude", "*sys/*", "--exclude", "*auth/*", "--exclude", "team/*")
    assert part.code == 0, part
    assert (part.document["removed"], part.document["left"], part.document["not_done"]) == (6, 0, 0)
    whole.allow(*RESTORE)
    rest = whole.undo()
    assert rest.code == 0, rest
    assert rest.document["already"] == 6
    assert whole.told() == whole.before
