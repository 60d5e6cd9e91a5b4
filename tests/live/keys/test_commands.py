"""Keys by command line on live key services: made in an HSM, tried, sealed for and opened with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import KeyServiceError, UsageError
from strongroom.keys.errors import KeyExists, KeyNotFound, PinRefused
from strongroom.system.errors import WouldOverwrite
from tests.cli.conftest import stock
from tests.cli.program import Machine
from tests.cli.test_quorum import at_table
from tests.live.keys.test_kms import make_key
from tests.live.keys.test_transit import Transit
from tests.live.moto import CREDENTIALS, REGION, Moto
from tests.live.openbao import OpenBao
from tests.live.softhsm import PIN, SoftHsm, file_with, module

HSM = """
[keys.{name}]
kind = "pkcs11"
label = "backup"
version = {version}
mechanism = "{mechanism}"
module = "{module}"
token = "{token}"
pin_file = "{pin}"
{more}
"""


@pytest.fixture
def machine(tmp_path: Path, softhsm: SoftHsm) -> Machine:
    """A machine whose processes see the tokens of the test run."""
    return Machine(tmp_path / "machine", {**softhsm.env})


def hsm_key(softhsm: SoftHsm, *, name: str, token: str, version: int = 1, **settings: Any) -> str:
    values = {"mechanism": "ec", "pin": softhsm.pin_file, "more": ""} | settings
    return HSM.format(name=name, token=token, version=version, module=module(), **values)


def configure(machine: Machine, *parts: str) -> None:
    machine.path("strongroom.toml").write_text("\n".join(parts))


def test_a_key_is_made_in_the_hsm_and_seals_without_it_and_opens_with_it(
    machine: Machine, softhsm: SoftHsm
) -> None:
    softhsm.make_token("made-by-command")
    more = 'public_key_file = "hsm.pub"'
    configure(machine, hsm_key(softhsm, name="safe", token="made-by-command", more=more))
    stock(machine)
    machine.ok("keys", "hsm", "create", "safe")

    assert machine.ok("keys", "hsm", "list", "safe", "--json").document["keys"] == [
        {"label": "backup", "version": 1, "mechanism": "ec"}
    ]
    sealing = {"SOFTHSM2_CONF": os.devnull}
    machine.ok("backup", "full.sr", "--include-values", "--force", "--recipient", "safe", **sealing)
    done = machine.ok("backups", "verify", "--opens", "full.sr", "--json")
    assert done.document
    assert machine.run("keys", "hsm", "create", "safe").failed_with(WouldOverwrite)
    machine.path("hsm.pub").unlink()
    assert machine.run("keys", "hsm", "create", "safe").failed_with(KeyExists)


def test_a_wrong_pin_is_tried_once_over_commands_until_somebody_logs_in(
    machine: Machine, softhsm: SoftHsm, tmp_path: Path
) -> None:
    softhsm.make_token("pin-by-command")
    pin = file_with(tmp_path / "pin", "CANARY-9999")
    configure(machine, hsm_key(softhsm, name="safe", token="pin-by-command", pin=pin))

    first, second = (machine.run("keys", "hsm", "list", "safe") for _ in range(2))
    assert first.failed_with(PinRefused)
    assert second.failed_with(PinRefused)
    assert "does not take the PIN" in first.err
    assert "is not tried" in second.err
    file_with(pin, PIN)
    assert machine.run("keys", "hsm", "list", "safe").failed_with(
        PinRefused
    )  # a good one is not tried either, unattended

    code, shown = at_table(
        machine, "keys", "hsm", "list", "safe", "--ask-pin",
        answer=lambda screen: f"{PIN}\n".encode() if screen.endswith("good login: ") else None,
    )  # fmt: skip
    assert code == 0, shown
    assert PIN not in shown
    assert machine.ok("keys", "hsm", "list", "safe").out


def test_diagnose_says_in_words_what_the_token_has_counted_and_burns_one_try(
    machine: Machine, softhsm: SoftHsm, tmp_path: Path
) -> None:
    """SoftHSM sets the first of three flags and never the others: tests/keys/test_pkcs11.py has those."""
    softhsm.make_token("pin-diagnosed")
    pin = file_with(tmp_path / "pin", PIN)
    configure(machine, hsm_key(softhsm, name="safe", token="pin-diagnosed", pin=pin))
    machine.ok("keys", "hsm", "create", "safe")
    file_with(pin, "CANARY-9999")

    first, second = (machine.run("check", "keys", "--no-backups") for _ in range(2))
    assert first.failed_with(PinRefused)
    assert second.failed_with(PinRefused)
    for done, words in ((first, "does not take the PIN"), (second, "is not tried")):
        said = " ".join((done.out + done.err).split())
        assert words in said
        assert "the token has counted a wrong PIN since the last good login" in said
        assert "CANARY-9999" not in said


def test_diagnose_tries_every_key_and_names_what_is_wrong(
    machine: Machine, softhsm: SoftHsm, openbao: OpenBao, moto: Moto, tmp_path: Path
) -> None:
    softhsm.make_token("diagnosed")
    transit = Transit(openbao, tmp_path)
    token = transit.key("seal", "open")._vault.connection.login.path  # type: ignore[attr-defined]
    arn = make_key(moto)
    moto.client("kms").schedule_key_deletion(KeyId=arn.rpartition("/")[2], PendingWindowInDays=7)
    machine.ok("keys", "new", "--output", "one.key")
    machine.ok("keys", "new", "--output", "other.key")
    configure(
        machine,
        hsm_key(softhsm, name="hsm", token="diagnosed", version=1),
        hsm_key(softhsm, name="hsm-aes", token="diagnosed", version=2, mechanism="aes"),
        hsm_key(softhsm, name="hsm-missing", token="diagnosed", version=9),
        f'[vaults.keys]\naddress = "{openbao.address}"\ntoken_file = "{token}"\n',
        f'[keys.transit]\nkind = "transit"\nvault = "keys"\nkey = "strongroom"\nmount = "{transit.mount}"\n',
        f'[keys.kms]\nkind = "kms"\nkey_id = "{arn}"\nregion = "{REGION}"\n'
        f'endpoint_url = "{moto.endpoint}"\n',
        '[keys.pair]\nkind = "hpke"\npublic_key_file = "one.key.pub"\nidentity_file = "other.key"\n',
        '[keys.away]\nkind = "hpke"\npublic_key_file = "other.key.pub"\n',
        '[keys.same]\nkind = "hpke"\npublic_key_file = "other.key.pub"\n',
        '[keys.both]\nkind = "all-of"\nlegs = [["hsm"], ["transit"]]\n',
    )
    for name in ("hsm", "hsm-aes"):
        machine.ok("keys", "hsm", "create", name)
    environment = {name.upper(): value for name, value in CREDENTIALS.items()}

    done = machine.run("check", "keys", "--no-backups", "--json", **environment)

    found = {key["name"]: key for key in done.document["keys"]}
    states = {name: (key["problem"] or {}).get("code") or key["opens_here"] for name, key in found.items()}
    assert states == {
        "hsm": True,
        "hsm-aes": True,
        "hsm-missing": "KeyNotFound",
        "transit": True,
        "kms": "KeyPendingDeletion",
        "pair": "KeyServiceError",
        "away": False,
        "same": False,
        "both": True,
    }
    assert done.failed_with(KeyNotFound)
    assert all(key["wrap_ms"] > 0 and key["unwrap_ms"] > 0 for key in found.values() if key["opens_here"])
    remarks = [remark for remark in done.document["remarks"] if remark["wrong"]]
    assert remarks == [
        {"about": "keys.same", "text": "is the same key as keys.away: losing it loses both", "wrong": True}
    ]

    shown = machine.run("check", "keys", "--no-backups", "--key", "hsm", "--key", "pair", **environment)
    assert shown.failed_with(KeyServiceError)
    assert "seals and opens" in shown.out
    assert "does not open with what this host has for it" in shown.out
    assert machine.run("check", "keys", "--no-backups", "--key", "none").failed_with(UsageError)
