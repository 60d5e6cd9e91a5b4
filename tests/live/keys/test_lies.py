"""A key service that answers with nonsense, as a proxy's page does: it is named, and in no key's way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

from strongroom.container.wrapping import Stanza, WrappingKey, unlock
from strongroom.errors import KeyServiceError
from strongroom.keys.allof import AllOfIdentity, AllOfRecipient
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.kms import Kms, KmsIdentity, KmsOptions
from strongroom.keys.pkcs11.session import PinFile, Token
from strongroom.keys.pkcs11.token_keys import Pkcs11EcIdentity
from strongroom.keys.transit import TransitIdentity, TransitKey, TransitRecipient
from strongroom.vault.client import Vault
from strongroom.vault.tokens import TokenFile
from strongroom.vault.transport import VaultConnection
from tests.keys.software import EcIdentity
from tests.live.proxy import Answer, FaultyProxy, method
from tests.live.softhsm import file_with

ARN = "arn:aws:kms:eu-central-1:123456789012:key/1"
FILE = KeyFileIdentity(bytes(range(32)))
CURVE = EcIdentity(derive_private_key(5, SECP256R1()), version=1)
NONSENSE: list[object] = [
    *({}, [], None, 7, "text", {"data": {}}, {"data": []}, {"data": {"plaintext": "a", "ciphertext": "a"}}),
    {"data": {"plaintext": 7, "ciphertext": 7, "min_decryption_version": "x"}},
    {"data": {"plaintext": "AAAA", "ciphertext": "vault:v1:AAAA", "min_available_version": None}},
    {"KeyId": 7, "CiphertextBlob": 7, "Plaintext": 7, "KeyMetadata": 7},
    {"KeyId": ARN, "CiphertextBlob": "", "Plaintext": "a", "KeyMetadata": {"KeyState": []}},
    {"KeyId": ARN, "CiphertextBlob": "!", "Plaintext": "AAAA", "KeyMetadata": {"DeletionDate": "x"}},
    {"__type": 7, "errors": 7},
]
BODIES = [b"", b"<html>Please log in", b"\xff\xfe", *(json.dumps(each).encode() for each in NONSENSE)]

ANSWERED = pytest.mark.parametrize(
    ("status", "bodies"),
    [(200, BODIES), (400, BODIES[::2]), (403, BODIES[1::2]), (500, BODIES[::2])],
    ids=["200", "400", "403", "500"],
)


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    """Something that answers; nothing is behind it."""
    with FaultyProxy(9) as made:
        yield made


@pytest.fixture
def kms(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Kms:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "CANARY-ID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "CANARY-KEY")
    address = f"http://127.0.0.1:{proxy.port}"
    return Kms(KmsOptions(key_id=ARN, region="eu-central-1", endpoint_url=address, max_attempts=1))


@pytest.fixture
def transit(proxy: FaultyProxy, tmp_path: Path) -> TransitKey:
    """A key of what lets us log in, and talks nonsense then."""
    login = json.dumps({"data": {"ttl": 0, "policies": []}}).encode()
    proxy.fail(Answer(200, {}, login), when=method("GET", path="lookup-self"), times=None)
    token = TokenFile(path=file_with(tmp_path / "token", "CANARY-TOKEN"))
    address = f"http://127.0.0.1:{proxy.port}"
    return TransitKey(Vault(VaultConnection(address=address, login=token, patience_seconds=0.01)), key="k")


def kms_stanza() -> Stanza:
    return Stanza(type="kms", label="", args={"arn": ARN.encode().hex(), "blob": "00" * 50})


def transit_stanza(key: TransitKey) -> Stanza:
    args = {"data_key": "00" * 60, "key": key.id.hex(), "salt": "00" * 32, "wrapped": "00" * 48}
    return Stanza(type="transit", label="", args={**args, "version": 1})


@ANSWERED
def test_nonsense_of_kms_is_named(proxy: FaultyProxy, kms: Kms, status: int, bodies: list[bytes]) -> None:
    for body in bodies:
        rule = proxy.fail(Answer(status, {}, body), times=None)
        with pytest.raises(KeyServiceError):
            kms.require_usable()
        with pytest.raises(KeyServiceError):
            kms.encrypt(bytes(32), context="c")
        with suppress(KeyServiceError):
            assert KmsIdentity(kms).unwrap(kms_stanza(), context=b"c") is None
        rule.left = 0


@ANSWERED
def test_nonsense_of_vault_is_named(
    proxy: FaultyProxy, transit: TransitKey, status: int, bodies: list[bytes]
) -> None:
    for body in bodies:
        rule = proxy.fail(Answer(status, {}, body), times=None)
        with pytest.raises(KeyServiceError):
            TransitRecipient(transit).wrap(bytes(32), context=b"c")
        with suppress(KeyServiceError):
            assert TransitIdentity(transit).unwrap(transit_stanza(transit), context=b"c") is None
        rule.left = 0


def test_what_cannot_be_tried_stops_no_other_key_and_is_named_if_there_is_none(
    proxy: FaultyProxy, kms: Kms, transit: TransitKey, tmp_path: Path
) -> None:
    """A key service that talks nonsense, a login that is not here, a library that is not here."""
    proxy.fail(Answer(200, {}, b"<html>"), times=None)
    elsewhere = Kms(KmsOptions(key_id=ARN, region="eu-central-1", profile="CANARY-none"))
    token = Token(module=tmp_path / "none.so", label="t", pin=PinFile(tmp_path / "none"))
    hsm = Pkcs11EcIdentity(token, key="k", version=1, public=CURVE.public)
    identities = [KmsIdentity(kms), KmsIdentity(elsewhere), TransitIdentity(transit), hsm]
    recipients = [
        Recorded(kms_stanza()),
        Recorded(transit_stanza(transit)),
        CURVE.recipient(),
        FILE.recipient(),
    ]

    record = WrappingKey.create(recipients).record
    assert unlock(record, [*identities, FILE]).id == record.id
    with pytest.raises(KeyServiceError, match="an answer that KMS does not give"):
        unlock(record, identities)

    both = AllOfRecipient([[*recipients[:3], FILE.recipient()], [FILE.recipient()]])
    record = WrappingKey.create([both]).record
    assert unlock(record, [AllOfIdentity([*identities, FILE])]).id == record.id


class Recorded:
    """A recipient whose stanza is what a key service made on another day."""

    label, post_quantum = "", True

    def __init__(self, stanza: Stanza) -> None:
        self.type = self.fingerprint = stanza.type
        self.stanza = stanza

    def describe(self) -> str:
        return self.type

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:  # noqa: ARG002
        return self.stanza
