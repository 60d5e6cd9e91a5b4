"""Keys in two makes of HSM meet the contract of every recipient."""

from __future__ import annotations

import subprocess
import sys

import pytest

from strongroom.container.wrapping import Stanza
from strongroom.keys.ec import EcPublicKey, EcRecipient, open_stanza
from strongroom.keys.pkcs11.token_keys import (
    HsmAesKey,
    Pkcs11AesIdentity,
    Pkcs11AesRecipient,
    Pkcs11EcIdentity,
)
from strongroom.plugins.conformance.recipients import CONTEXT, KEY, RecipientConformance, with_arg
from tests.live import nss, softhsm
from tests.live.keys.conftest import AES, AES_OTHER, EC, EC_384, EC_OTHER, Hsm

PINS = [softhsm.PIN.encode(), nss.PIN.encode()]


class _Ec(RecipientConformance):
    version: int
    post_quantum = False

    @pytest.fixture
    def recipient(self, hsm: Hsm) -> EcRecipient:
        public = hsm.public[self.version]
        self.words = self.words.format(token=hsm.token().label)
        return EcRecipient(
            public, key="backup", version=self.version, label="recovery", token=hsm.token().label or ""
        )

    @pytest.fixture
    def same(self, hsm: Hsm) -> EcRecipient:
        public = EcPublicKey.parse(str(hsm.public[self.version]))
        return EcRecipient(public, key="backup", version=self.version, label="recovery")

    @pytest.fixture
    def identity(self, hsm: Hsm) -> Pkcs11EcIdentity:
        return Pkcs11EcIdentity(hsm.token(), key="backup", version=self.version)

    @pytest.fixture
    def stranger(self, hsm: Hsm) -> Pkcs11EcIdentity:
        return Pkcs11EcIdentity(hsm.token(), key="backup", version=EC_OTHER)

    @pytest.fixture
    def secrets(self) -> list[bytes]:
        return PINS


class TestP256(_Ec):
    version = EC
    words = "the HSM key `backup` v1 in the token `{token}` (P-256, not post-quantum)"


class TestP384(_Ec):
    version = EC_384
    words = "the HSM key `backup` v2 in the token `{token}` (P-384, not post-quantum)"


class TestAes(RecipientConformance):
    post_quantum = True
    words = "the HSM key `backup` v4 in the token `{token}` (AES; the host can open)"

    @pytest.fixture
    def recipient(self, hsm: Hsm) -> Pkcs11AesRecipient:
        key = HsmAesKey(hsm.token(), key="backup", version=AES, key_id=hsm.ids[AES])
        self.words = self.words.format(token=hsm.token().label)
        return Pkcs11AesRecipient(key, label="recovery")

    @pytest.fixture
    def same(self, hsm: Hsm) -> Pkcs11AesRecipient:
        return Pkcs11AesRecipient(HsmAesKey(hsm.token(), key="backup", version=AES), label="recovery")

    @pytest.fixture
    def identity(self, hsm: Hsm) -> Pkcs11AesIdentity:
        return Pkcs11AesIdentity(HsmAesKey(hsm.token(), key="backup", version=AES))

    @pytest.fixture
    def stranger(self, hsm: Hsm) -> Pkcs11AesIdentity:
        return Pkcs11AesIdentity(HsmAesKey(hsm.token(), key="backup", version=AES_OTHER))

    @pytest.fixture
    def secrets(self) -> list[bytes]:
        return PINS


def test_sealing_for_a_key_pair_calls_no_hsm(hsm: Hsm) -> None:
    recipient = EcRecipient(hsm.public[EC], key="backup", version=EC)
    stanza = recipient.wrap(KEY, context=CONTEXT)

    code = "import sys, strongroom.keys.ec; print('pkcs11' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
    assert Pkcs11EcIdentity(hsm.token(), key="backup", version=EC).unwrap(stanza, context=CONTEXT) == KEY


def test_the_version_is_bound_not_only_named(hsm: Hsm) -> None:
    stanza = EcRecipient(hsm.public[EC], key="backup", version=EC).wrap(KEY, context=CONTEXT)
    renumbered = with_arg(stanza, "version", 9)

    identity = Pkcs11EcIdentity(hsm.token(), key="backup", version=EC)

    def taken_for(stanza: Stanza, version: int) -> bytes | None:
        return open_stanza(
            stanza, public=identity.public, version=version, context=CONTEXT, agree=identity._agree
        )

    assert taken_for(renumbered, 9) is None
    assert taken_for(stanza, EC) == KEY
