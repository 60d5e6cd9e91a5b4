"""The recovery program on live key services of keys, when nothing of Strongroom is left."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from strongroom.container.errors import Tampered, WrongKey
from strongroom.container.wrapping import Recipient
from strongroom.keys.allof import AllOfRecipient
from strongroom.keys.ec import EcRecipient
from strongroom.keys.kms import KmsRecipient
from strongroom.keys.pkcs11.token_keys import HsmAesKey, Pkcs11AesRecipient
from strongroom.keys.quorum import QuorumRecipient
from strongroom.keys.transit import TransitRecipient
from tests.keys.quorum.made import made
from tests.live import nss, softhsm
from tests.live.keys.conftest import AES, EC, Hsm
from tests.live.keys.test_kms import make_key, of
from tests.live.keys.test_transit import Transit
from tests.live.moto import Moto
from tests.live.openbao import OpenBao
from tests.live.softhsm import SoftHsm, file_with
from tests.recover.test_keys import sealed, shares_file
from tests.recover.test_recover import run

VALUE = b"CANARY-0001-" + b"x" * 40


def hsm_arguments(hsm: Hsm, folder: Path) -> list[str | Path]:
    module, label, pin = (
        (softhsm.module(), "backup", softhsm.PIN)
        if hsm.name == "SoftHSM"
        else (nss.module(), nss.LABEL, nss.PIN)
    )
    return ["--hsm", module, "--token", label, "--pin-file", softhsm.file_with(folder / "pin", f"{pin}\n")]


@pytest.mark.parametrize("kind", ["ec", "aes"])
def test_an_hsm_opens(hsm: Hsm, tmp_path: Path, kind: str) -> None:
    aes = HsmAesKey(hsm.token(), key="backup", version=AES)
    recipient: Recipient = Pkcs11AesRecipient(aes)
    if kind == "ec":
        recipient = EcRecipient(hsm.public[EC], key="backup", version=EC)

    done = run(sealed(tmp_path, recipient), *hsm_arguments(hsm, tmp_path), "--get", "app/0001")

    assert (done.returncode, done.stdout) == (0, VALUE), done.stderr


def test_a_wrong_pin_and_a_missing_token_are_told_without_a_traceback(
    softhsm: SoftHsm, softhsm_keys: Hsm, tmp_path: Path
) -> None:
    path = sealed(tmp_path, EcRecipient(softhsm_keys.public[EC], key="backup", version=EC))
    softhsm.make_token("recover-pin")
    arguments = hsm_arguments(softhsm_keys, tmp_path)
    wrong = file_with(tmp_path / "wrong", "CANARY-9999")
    for token, said in (("recover-pin", b"PinIncorrect"), ("nowhere", b"NoSuchToken")):
        done = run(path, *arguments[:2], "--token", token, "--pin-file", wrong, "--list")
        assert done.returncode == WrongKey.exit_code
        assert said in done.stderr
        assert b"Traceback" not in done.stderr
        assert b"CANARY" not in done.stderr


def test_an_hsm_and_three_shares_open_what_needs_both(hsm: Hsm, tmp_path: Path) -> None:
    quorum, papers = made()
    leg = EcRecipient(hsm.public[EC], key="backup", version=EC)
    path = sealed(tmp_path, AllOfRecipient([[leg], [QuorumRecipient(quorum)]], label="emergency"))
    shares: list[str | Path] = ["--share-file", shares_file(tmp_path, *papers[:3])]

    done = run(path, *hsm_arguments(hsm, tmp_path), *shares, "--get", "app/0001")
    assert (done.returncode, done.stdout) == (0, VALUE), done.stderr
    assert run(path, *shares, "--list").returncode == WrongKey.exit_code


def test_what_vault_answers_to_the_command_that_was_shown_opens(openbao: OpenBao, tmp_path: Path) -> None:
    transit = Transit(openbao, tmp_path)
    path = sealed(tmp_path, TransitRecipient(transit.key("seal")))
    shown = re.search(r"transit/decrypt/KEY ciphertext=(vault:\S+)'", run(path, "--list").stderr.decode())
    assert shown is not None

    answer = transit.tell("POST", "decrypt/strongroom", {"ciphertext": shown[1]})["data"]["plaintext"]

    assert run(path, "--answer", answer, "--get", "app/0001").stdout == VALUE


def answer_of_kms(moto: Moto, path: Path) -> str:
    """Give the command that is shown for a backup; return what it prints."""
    shown = re.search(
        r"echo (\S+) \| base64 -d \| aws kms decrypt "
        r"--region (\S+) --key-id (\S+) --encryption-context strongroom=(\S+) ",
        run(path, "--list").stderr.decode(),
    )
    assert shown is not None
    blob, region, arn, context = shown.groups()
    answer = moto.client("kms", region_name=region).decrypt(
        KeyId=arn, CiphertextBlob=base64.b64decode(blob), EncryptionContext={"strongroom": context}
    )["Plaintext"]
    return base64.b64encode(answer).decode()


def test_what_kms_answers_to_the_command_that_was_shown_opens(moto: Moto, tmp_path: Path) -> None:
    recipient = KmsRecipient(of(moto, make_key(moto)))
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    path, other = (sealed(folder, recipient) for folder in folders)
    answer, others = answer_of_kms(moto, path), answer_of_kms(moto, other)

    assert run(path, "--answer", answer, "--get", "app/0001").stdout == VALUE
    # Two wrapping keys: which answer is whose, the program finds out.
    both = run(path, other, "--answer", others, "--answer", answer, "--jsonl")
    assert (both.returncode, both.stdout.count(VALUE)) == (0, 2)
    wrong = run(path, "--answer", base64.b64encode(bytes(32)).decode(), "--list")
    assert wrong.returncode == Tampered.exit_code
    assert b"--answer is another key's" in wrong.stderr
