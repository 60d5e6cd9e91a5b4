"""signers: versions of the signing keys, on the command line, and what is believed afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from strongroom.cli.errors import SignersUnsettled
from strongroom.container.errors import UntrustedSigner
from strongroom.errors import ConfigError, UsageError
from strongroom.operations.errors import ConfirmationRequired
from strongroom.sources.errors import EmptySource
from tests.cli.conftest import stock
from tests.cli.furnished import furnished
from tests.cli.program import PASSPHRASE, Machine

CONFIG = """
[keys.recovery]
kind = "keyfile"
file = "{home}/recovery.key"

[policies.all]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = ["recovery"]
"""


def keep_house(machine: Machine) -> None:
    machine.ok("keys", "new", "--algorithm", "AES256", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(CONFIG.format(home=machine.home))
    machine.ok("backup", "--policy", "all", "--force")


house = furnished(stock, keep_house)


def signers(machine: Machine, role: str = "control") -> list[dict]:  # type: ignore[type-arg]
    return [
        one
        for one in machine.ok("keys", "signers", "list", "--json").document["signers"]
        if one["role"] == role
    ]


def installation(machine: Machine) -> str:
    found: str = machine.ok("keys", "signers", "list", "--json").document["installation"]
    return found


def backup_id(machine: Machine) -> str:
    found: list[dict[str, str]] = machine.ok("backups", "list", "--json").document["backups"]
    return found[0]["backup"]


RESTORE = (
    *("restore", "--from-target", "region-b", "--full-restore", "--dry-run"),
    *("--identity", "recovery.key"),
)


def test_after_a_rotation_the_backups_before_and_after_it_are_believed(house: Machine) -> None:
    done = house.ok("keys", "signers", "rotate")
    assert "escrow" in done.out
    assert [one["version"] for one in signers(house)] == [1, 2]
    assert "signs" in signers(house)[1]["state"]
    house.ok("backup", "--policy", "all", "--force")
    for backup in house.ok("backups", "list", "--json").document["backups"]:
        house.ok(*RESTORE, "--backup", backup["backup"])
    shown = house.ok("keys", "list").out
    assert "retired, counts for what was made until" in shown
    house.ok("emergency", "kit", "--output", "kit.html")
    assert installation(house) in house.path("kit.html").read_text()


def test_what_a_distrusted_key_signed_is_refused_until_it_is_signed_anew(house: Machine) -> None:
    leaked = signers(house)[0]["fingerprint"]
    asked = house.run("keys", "signers", "distrust", leaked, "--reason", "laptop lost")
    assert asked.failed_with(ConfirmationRequired)
    assert len(signers(house)) == 1
    house.ok("keys", "signers", "distrust", leaked, "--reason", "laptop lost", "--force")

    refused = house.run(*RESTORE)
    assert refused.failed_with(UntrustedSigner)
    assert "distrusted here since" in refused.err
    assert "laptop lost" in refused.err
    assert house.run("backups", "verify", "region-b").failed_with(UntrustedSigner)
    looked = house.run("backups", "show", "region-b", "--json")  # it shows what is claimed
    assert looked.failed_with(UntrustedSigner)
    assert looked.document["signer_known"] is False
    assert "laptop lost" in looked.document["signer_doubt"]
    assert "laptop lost" in house.ok("keys", "list").out
    house.ok("emergency", "kit", "--output", "kit.html")
    assert "laptop lost" in house.path("kit.html").read_text()
    assert house.ok(*RESTORE, "--signer", leaked).code == 0  # a person's decision

    [use] = house.ok("keys", "signers", "distrust", leaked, "--dry-run", "--json").document["uses"]
    assert use["manifest"] is True
    assert (
        house.ok("keys", "signers", "re-sign", "--before", "2020-01-01", "--force", "--json").document[
            "re_signed"
        ]
        == []
    )
    done = house.ok("keys", "signers", "re-sign", "--force", "--json").document
    assert (done["failed"], [one["missed"] for one in done["re_signed"]]) == ({}, [{}])
    assert house.ok(*RESTORE).code == 0
    house.ok("backup", "--policy", "all", "--force")
    assert house.ok("backups", "repair", backup_id(house)).code == 0


def test_what_cannot_be_vouched_for_is_named_and_is_an_error(house: Machine) -> None:
    leaked = signers(house)[0]["fingerprint"]
    for target in house.state.glob("targets/*/manifests/*"):
        target.unlink()
    house.ok("keys", "signers", "distrust", leaked, "--reason", "leak", "--force")
    done = house.run("keys", "signers", "re-sign", "--force")
    assert done.failed_with(SignersUnsettled)
    assert "not vouched for" in done.out


def test_an_announced_key_does_not_sign_yet(house: Machine) -> None:
    done = house.ok("keys", "signers", "rotate", "control", "--announce", "--json")
    [made] = done.document["made"]
    assert [one["state"] for one in signers(house)] == ["signs", "announced, does not sign yet"]
    house.ok("keys", "signers", "rotate", "control")
    assert signers(house)[1]["fingerprint"] == made["fingerprint"]
    assert len(signers(house)) == 2


@pytest.mark.parametrize(
    "words",
    [
        ("rotate", "nobody"),
        ("rotate", "--grace", "-1"),
        ("distrust", "sr1:" + "0" * 64, "--reason", "x", "--force"),
        ("re-sign", "--before", "yesterday"),
        ("create", "nobody"),
        ("create", "control", "--lost"),
        ("create", "verify", "--lost", "--request"),
        ("create", "verify", "--request", "--installation-key", "stick.key"),
        ("distrust", "sr1:" + "0" * 64, "--force"),
        ("offline", "--spare", "--installation-key", "stick.key"),
        ("certify", "verify", "sr1:" + "0" * 64),
        ("certify", "verify", "00"),
    ],
)
def test_what_makes_no_sense_is_refused(house: Machine, words: tuple[str, ...]) -> None:
    done = house.run("keys", "signers", *words)
    assert done.code in (UsageError.exit_code, ConfigError.exit_code)
    assert "Traceback" not in done.err
    assert len(signers(house)) == 1


def test_an_escrow_brings_every_version_back(house: Machine, other: Machine) -> None:
    house.ok("keys", "signers", "rotate")
    house.ok("emergency", "escrow", "away.sr", STRONGROOM_PASSPHRASE=PASSPHRASE)
    known = signers(house)
    (other.home / "away.sr").write_bytes(house.path("away.sr").read_bytes())
    pinned = installation(house)

    other.ok("emergency", "escrow", "away.sr", "--open", "--signer", pinned, STRONGROOM_PASSPHRASE=PASSPHRASE)
    listed = json.loads(Path(other.state, "keys/roles/trusted.json").read_text())
    assert [one["version"] for one in listed["roles"]["control"]] == [1, 2]
    assert Path(other.state, "keys/roles/installation.key").exists()
    assert installation(other) == pinned
    assert signers(other) == known


def test_with_the_installation_key_offline_backups_go_on_and_a_lost_role_key_is_replaced(
    house: Machine, other: Machine
) -> None:
    pinned, stick = installation(house), house.path("stick.key")
    (house.state / "keys/roles/installation.key").rename(stick)
    house.ok("backup", "--policy", "all", "--force")

    (house.state / "keys/roles/control.key").unlink()
    lost = house.run("backup", "--policy", "all", "--force")
    assert lost.failed_with(ConfigError)
    assert "signers create control --lost" in " ".join(lost.err.split())
    away = house.run("keys", "signers", "create", "control", "--lost")
    assert away.failed_with(ConfigError)
    assert "--installation-key FILE" in " ".join(away.err.split())

    house.ok("keys", "signers", "create", "control", "--lost", "--installation-key", stick)
    house.ok("backup", "--policy", "all", "--force")
    assert installation(house) == pinned
    for backup in house.ok("backups", "list", "--json").document["backups"]:
        elsewhere = ("restore", "--from-target", house.state / "targets" / "region-b", "--full-restore")
        words = ("--dry-run", "--backup", backup["backup"], "--identity", house.path("recovery.key"))
        other.ok(*elsewhere, *words, "--signer", pinned)


def test_another_host_gets_its_key_certified_by_the_first(house: Machine, other: Machine) -> None:
    roles = "keys/roles"
    Path(other.state, roles).mkdir(parents=True, mode=0o700)
    Path(other.state, roles, "trusted.json").write_bytes((house.state / roles / "trusted.json").read_bytes())
    asked = other.ok("keys", "signers", "create", "verify", "--request", "--json").document
    again = other.ok("keys", "signers", "create", "verify", "--request").out
    assert f"signers certify verify {asked['public']}" in again
    house.ok("keys", "signers", "certify", "verify", asked["public"])
    Path(other.state, roles, "trusted.json").write_bytes((house.state / roles / "trusted.json").read_bytes())

    made = other.ok("keys", "signers", "create", "verify", "--json").document
    assert made == {
        "role": "verify",
        "fingerprint": asked["fingerprint"],
        "installation": installation(house),
        "error": None,
    }


def test_a_role_keys_fingerprint_pins_nothing_elsewhere(house: Machine, other: Machine) -> None:
    where = ("restore", "--from-target", house.state / "targets" / "region-b", "--full-restore", "--dry-run")
    words = (*where, "--identity", house.path("recovery.key"), "--signer")
    refused = other.run(*words, signers(house)[0]["fingerprint"])
    assert refused.failed_with(UntrustedSigner)
    assert installation(house) in refused.err
    other.ok(*words, installation(house))


def test_an_installation_without_a_local_store_can_be_escrowed_too(other: Machine) -> None:
    """A host that backs up a Vault alone has signing keys all the same."""
    assert other.run("emergency", "escrow", "away.sr", STRONGROOM_PASSPHRASE=PASSPHRASE).failed_with(
        EmptySource
    )
    other.ok("keys", "list")
    done = other.ok("emergency", "escrow", "away.sr", "--json", STRONGROOM_PASSPHRASE=PASSPHRASE)
    assert "keys/roles/control.key" in done.document["holds"]
