"""Sealing for an HSM's EC key, opened in software: the contract, the published vectors, the edges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256K1,
    SECP256R1,
    SECP384R1,
    EllipticCurvePublicKey,
    derive_private_key,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroom.errors import ConfigError, UsageError
from strongroom.keys import hpke
from strongroom.keys.ec import Curve, EcPublicKey, EcRecipient, open_stanza
from strongroom.plugins.conformance.recipients import CONTEXT, KEY, RecipientConformance, with_arg
from tests.keys.software import EcIdentity

FOLDER = Path(__file__).with_name("vectors")
NIST = json.loads((FOLDER / "hpke_nist.json").read_text(encoding="ascii"))
X25519 = json.loads((FOLDER / "hpke.json").read_text(encoding="ascii"))["dhkem_x25519"]
CURVES = {16: (Curve.P256, SECP256R1()), 17: (Curve.P384, SECP384R1())}


def identity_of(scalar: int, *, curve: Curve = Curve.P256, version: int = 1) -> EcIdentity:
    kind = SECP256R1() if curve is Curve.P256 else SECP384R1()
    return EcIdentity(derive_private_key(scalar, kind), version=version)


class _Ec(RecipientConformance):
    curve: Curve
    post_quantum = False

    @pytest.fixture
    def recipient(self) -> EcRecipient:
        return EcRecipient(self._identity().public, key="backup", version=3, label="recovery")

    @pytest.fixture
    def same(self) -> EcRecipient:
        public = EcPublicKey.parse(str(self._identity().public))
        return EcRecipient(public, key="backup", version=3, label="recovery")

    @pytest.fixture
    def identity(self) -> EcIdentity:
        return self._identity()

    @pytest.fixture
    def stranger(self) -> EcIdentity:
        return identity_of(99, curve=self.curve, version=3)

    @pytest.fixture
    def secrets(self) -> list[bytes]:
        return [(1 << 200).to_bytes(self.curve.field, "big")]

    def _identity(self) -> EcIdentity:
        return identity_of(1 << 200, curve=self.curve, version=3)


class TestP256(_Ec):
    curve = Curve.P256
    words = "the HSM key `backup` v3 (P-256, not post-quantum)"


class TestP384(_Ec):
    curve = Curve.P384
    words = "the HSM key `backup` v3 (P-384, not post-quantum)"


# -- published vectors ---------------------------------------------------------------


def raw(vector: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(vector[name])


@pytest.mark.parametrize("vector", NIST["dhkem_p256"] + NIST["dhkem_p384"], ids=lambda each: each["kem_id"])
def test_the_shared_secret_is_the_vectors(vector: dict[str, Any]) -> None:
    curve, kind = CURVES[vector["kem_id"]]
    private = derive_private_key(int(vector["skRm"], 16), kind)
    assert EcPublicKey.of(private.public_key()).raw == raw(vector, "pkRm")

    dh = private.exchange(ECDH(), EllipticCurvePublicKey.from_encoded_point(kind, raw(vector, "enc")))
    secret = hpke.shared_secret(
        dh, kem=curve.kem, kem_hash=curve.hash_name, enc=raw(vector, "enc"), public=raw(vector, "pkRm")
    )

    assert secret == raw(vector, "shared_secret")


AES = [vector for vector in [*NIST["dhkem_p256"], *X25519] if vector["aead_id"] in (1, 2)]


@pytest.mark.parametrize(
    "vector", AES, ids=lambda each: f"{each['kem_id']}-{each['kdf_id']}-{each['aead_id']}"
)
def test_the_key_schedule_opens_the_vector_and_nothing_next_to_it(vector: dict[str, Any]) -> None:
    secret, sealed = raw(vector, "shared_secret"), raw(vector, "ct")
    suite = {"kem": vector["kem_id"], "kdf": vector["kdf_id"], "aead": vector["aead_id"]}
    bound = {"info": raw(vector, "info"), "aad": raw(vector, "aad")}

    assert hpke.open_base(secret, sealed, **suite, **bound) == raw(vector, "pt")
    assert hpke.open_base(secret, sealed, **suite, info=b"", aad=bound["aad"]) is None
    assert hpke.open_base(secret, sealed, **suite, info=bound["info"]) is None
    assert hpke.open_base(bytes(len(secret)), sealed, **suite, **bound) is None


# -- points and versions -------------------------------------------------------------


def test_a_point_that_is_not_on_the_curve_is_never_given_to_the_hsm() -> None:
    identity = identity_of(7)
    stanza = identity.recipient().wrap(KEY, context=CONTEXT)
    sealed = bytearray.fromhex(str(stanza.args["sealed"]))
    asked: list[bytes] = []

    def agree(point: bytes) -> bytes:
        asked.append(point)
        return bytes(32)

    off_curve = bytes([4]) + bytes(31) + b"\x01" + bytes(31) + b"\x01"
    compressed = bytes([2]) + bytes(sealed[1:65])
    for point in (bytes(65), off_curve, compressed, b"\x04" + b"\xff" * 64):
        sealed[:65] = point
        wrong = with_arg(stanza, "sealed", sealed.hex())
        assert open_stanza(wrong, public=identity.public, version=1, context=CONTEXT, agree=agree) is None
    assert asked == []


def test_another_version_of_the_same_key_opens_nothing() -> None:
    stanza = identity_of(7, version=2).recipient().wrap(KEY, context=CONTEXT)

    assert identity_of(7, version=1).unwrap(stanza, context=CONTEXT) is None
    assert identity_of(7, version=3).unwrap(with_arg(stanza, "version", 3), context=CONTEXT) is None
    assert identity_of(7, version=2).unwrap(stanza, context=CONTEXT) == KEY


@pytest.mark.parametrize("version", [0, -1, 65_536])
def test_a_version_has_two_bytes(version: int) -> None:
    with pytest.raises(UsageError, match="1 to 65535"):
        EcRecipient(identity_of(7).public, key="backup", version=version)


def test_a_public_key_reads_back_from_its_line_and_from_pem() -> None:
    for curve in Curve:
        public = identity_of(7, curve=curve).public
        pem = public.handle().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        assert EcPublicKey.parse(f" {public}\n") == EcPublicKey.parse(pem) == public


def test_every_mistyped_character_of_a_public_key_is_refused() -> None:
    text = str(identity_of(7).public)
    for position, character in enumerate(text):
        with pytest.raises(ConfigError):
            EcPublicKey.parse(text[:position] + ("A" if character != "A" else "B") + text[position + 1 :])
        with pytest.raises(ConfigError):
            EcPublicKey.parse(text[:position])


def test_a_key_of_another_curve_or_kind_is_refused() -> None:
    other = generate_private_key(SECP256K1())
    pem = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ConfigError, match="neither P-256 nor P-384"):
        EcPublicKey.parse(pem)
    with pytest.raises(ConfigError, match="not the public half of an HSM's key"):
        EcPublicKey.parse("srpub1:x25519:AAAA")
