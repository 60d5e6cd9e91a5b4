"""A lost key stops neither an overwriting restore nor its undo, and whoever else opens can undo it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom.container.errors import WrongKey
from tests.cli.program import Machine
from tests.live.key_services import CREDENTIALS_GIVEN
from tests.live.moto import Moto
from tests.live.openbao import OpenBao

CONFIG = """
[vaults.keys]
address = "{address}"
token_file = "{token}"
[keys.alice]
kind = "hpke"
public_key_file = "alice.key.pub"
[keys.bob]
kind = "hpke"
public_key_file = "bob.key.pub"
[keys.paper]
kind = "keyfile"
file = "paper.key"
[keys.bao]
kind = "transit"
vault = "keys"
key = "{key}"
[keys.kms]
kind = "kms"
key_id = "{kms}"
region = "eu-central-1"
endpoint_url = "{moto}"
"""
ALL = ("alice", "bob", "paper", "bao", "kms")
_numbers = itertools.count(1)


class Site:
    """A machine with a backup for five keys; since then one secret is gone, and one was changed."""

    def __init__(self, folder: Path, openbao: OpenBao, moto: Moto) -> None:
        self.machine = Machine(folder / "machine", env=dict(CREDENTIALS_GIVEN))
        self.openbao, self.kms = openbao, moto.client("kms", region_name="eu-central-1")
        if "transit/" not in openbao.data("sys/mounts"):
            openbao.call("POST", "sys/mounts/transit", {"type": "transit"})
        self.key = f"undo-{next(_numbers)}"
        openbao.call("POST", f"transit/keys/{self.key}", {})
        self.token = openbao.token_file(folder).path
        self.kms_key = self.kms.create_key()["KeyMetadata"]["KeyId"]
        for name in ("alice", "bob"):
            self.machine.ok("keys", "new", "--output", f"{name}.key")
        self.machine.ok("keys", "new", "--algorithm", "AES256", "--output", "paper.key")
        self.machine.path("strongroom.toml").write_text(
            CONFIG.format(
                address=openbao.address, token=self.token, key=self.key, kms=self.kms_key, moto=moto.endpoint
            )
        )
        self.machine.env["STRONGROOM_CONFIG"] = str(self.machine.path("strongroom.toml"))
        for name in ("GONE", "CHANGED"):
            self.machine.set(name, f"CANARY-{name}")
        recipients = [word for name in ALL for word in ("--recipient", name)]
        self.machine.ok("backup", "full.sr", "--include-values", "--force", *recipients)
        self.machine.ok("secrets", "delete", "GONE", "--force")
        self.machine.set("CHANGED", "CANARY-LATER")

    def values(self) -> dict[str, str]:
        names = [one["name"] for one in self.machine.ok("list", "--json").document["secrets"]]
        return {name: self.machine.ok("get", name, "--show-value").out.strip() for name in names}

    def restore(self, *words: str) -> str:
        """Restore everything over what is there; return the id that undoes it."""
        given = ("--backup-file", "full.sr", "--full-restore", *words, "--json")
        [command] = self.machine.ok("restore", *given).document["undo_by"]
        return str(command.split()[3])


@pytest.fixture
def site(tmp_path: Path, openbao: OpenBao, moto: Moto) -> Site:
    return Site(tmp_path, openbao, moto)


def transit_key_deleted(site: Site) -> None:
    site.openbao.call("POST", f"transit/keys/{site.key}/config", {"deletion_allowed": True})
    site.openbao.call("DELETE", f"transit/keys/{site.key}")


def token_revoked(site: Site) -> None:
    site.token.write_text("CANARY-no-such-token")


def token_file_gone(site: Site) -> None:
    site.token.unlink()


def kms_key_disabled(site: Site) -> None:
    site.kms.disable_key(KeyId=site.kms_key)


def kms_key_going(site: Site) -> None:
    site.kms.schedule_key_deletion(KeyId=site.kms_key, PendingWindowInDays=7)


def key_file_lost(site: Site) -> None:
    site.machine.path("paper.key").unlink()


def public_half_lost(site: Site) -> None:
    site.machine.path("bob.key.pub").unlink()


def all_services_gone(site: Site) -> None:
    for lose in (token_file_gone, kms_key_disabled, key_file_lost):
        lose(site)


LOST: list[Callable[[Site], None]] = [
    transit_key_deleted,
    token_revoked,
    token_file_gone,
    kms_key_disabled,
    kms_key_going,
    key_file_lost,
    all_services_gone,
]
BEFORE = {"CHANGED": "CANARY-LATER"}
AFTER = {"GONE": "CANARY-GONE", "CHANGED": "CANARY-CHANGED"}


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("lose", LOST)
def test_a_lost_key_stops_neither_a_restore_that_overwrites_nor_its_undo_by_a_colleague(
    site: Site, lose: Callable[[Site], None]
) -> None:
    lose(site)
    run = site.restore("--overwrite-existing", "--identity", "alice.key")
    assert site.values() == AFTER
    undone = site.machine.ok("restore", "undo", run, "--identity", "bob.key", "--json").document
    assert (undone["changed"], undone["removed"], undone["left"], undone["not_done"]) == (1, 1, 0, 0)
    assert site.values() == BEFORE
    [back] = [word for word in undone["undo_by"].split() if word.startswith("20")]
    site.machine.ok("restore", "undo", back, "--identity", "alice.key")
    assert site.values() == AFTER


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("lose", [token_file_gone, kms_key_disabled])
def test_a_restore_that_only_creates_is_undone_too_and_blames_nobody(
    site: Site, lose: Callable[[Site], None]
) -> None:
    lose(site)
    done = site.machine.run(
        "restore", "--backup-file", "full.sr", "--full-restore", "--identity", "alice.key", "--json"
    )
    assert (done.document["created"], done.document["left"]) == (1, 1)
    [command] = done.document["undo_by"]
    undone = site.machine.ok(*command.split()[1:], "--json").document
    assert (undone["removed"], undone["left"]) == (1, 0)
    assert site.values() == BEFORE


def test_who_cannot_open_what_undoes_it_is_told_the_names_of_those_who_can(site: Site) -> None:
    run = site.restore("--overwrite-existing", "--identity", "alice.key")
    site.machine.ok("keys", "new", "--output", "mallory.key")
    site.machine.path("strongroom.toml").unlink()
    site.machine.env.pop("STRONGROOM_CONFIG")
    done = site.machine.run("restore", "undo", run, "--identity", "mallory.key")
    assert done.failed_with(WrongKey)
    assert all(f"({name})" in done.err for name in ALL)


def test_it_is_not_sealed_to_who_could_not_open_the_backup(site: Site) -> None:
    site.machine.ok("keys", "new", "--output", "eve.key")
    text = site.machine.path("strongroom.toml").read_text()
    eve = '[keys.eve]\nkind = "hpke"\npublic_key_file = "eve.key.pub"\n'
    site.machine.path("strongroom.toml").write_text(text + eve)
    run = site.restore("--overwrite-existing", "--identity", "alice.key")
    for file in (site.machine.state / "undo" / run).glob("*.*"):
        if file.suffix in (".strongroom", ".key"):
            about = site.machine.ok("backups", "show", file, "--json").document
            assert {one["name"] for one in about["recipients"]} == set(ALL)


def test_a_public_half_that_is_lost_costs_only_its_holder_the_undo(site: Site) -> None:
    public_half_lost(site)
    run = site.restore("--overwrite-existing", "--identity", "alice.key")
    assert site.machine.run("restore", "undo", run, "--identity", "alice.key").code == 0
    assert site.values() == BEFORE
