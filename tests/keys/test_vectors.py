"""The published HPKE vectors, and every stanza opened by what its documents say alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from strongroom.container.wrapping import Stanza
from strongroom.keys.hpke import SUITES, HpkeIdentity, Kem, private_handle, public_of
from strongroom.keys.keyfile import KeyFileRecipient
from strongroom.keys.passphrase import PassphraseRecipient
from strongroom.plugins.conformance.recipients import CONTEXT, KEY
from tests.keys import rfc9180

Vector = dict[str, Any]

VECTORS = json.loads(Path(__file__).with_name("vectors").joinpath("hpke.json").read_text(encoding="ascii"))
KEMS = {0x0020: (Kem.X25519, KEM.X25519), 0x647A: (Kem.XWING, KEM.MLKEM768_X25519)}
KDFS = {1: KDF.HKDF_SHA256, 3: KDF.HKDF_SHA512}
AEADS = {1: AEAD.AES_128_GCM, 2: AEAD.AES_256_GCM, 3: AEAD.CHACHA20_POLY1305}
OURS = (3, 2)
ALL = VECTORS["dhkem_x25519"] + VECTORS["mlkem768_x25519"]


def name(vector: Vector) -> str:
    return "-".join(f"{vector[field]:04x}" for field in ("kem_id", "kdf_id", "aead_id"))


def raw(vector: Vector, field: str) -> bytes:
    return bytes.fromhex(vector[field])


def numbers(stanza: Stanza, *names: str) -> list[bytes]:
    return [bytes.fromhex(str(stanza.args[each])) for each in names]


every_vector = pytest.mark.parametrize("vector", ALL, ids=name)


def test_the_vectors_are_all_there() -> None:
    assert [name(vector) for vector in ALL] == [
        *("0020-0001-0001", "0020-0001-0002", "0020-0001-0003"),
        *("0020-0003-0001", "0020-0003-0002", "0020-0003-0003"),
        "647a-0001-0003",
    ]


@every_vector
def test_a_private_key_has_the_public_key_of_the_vector(vector: Vector) -> None:
    kem, _ = KEMS[vector["kem_id"]]

    assert public_of(kem, raw(vector, "skRm")).raw == raw(vector, "pkRm")
    assert (kem.number, kem.enc_size) == (vector["kem_id"], len(raw(vector, "enc")))


@every_vector
def test_the_library_opens_the_vector_with_our_keys(vector: Vector) -> None:
    kem, number = KEMS[vector["kem_id"]]
    suite = Suite(number, KDFS[vector["kdf_id"]], AEADS[vector["aead_id"]])
    if (vector["kdf_id"], vector["aead_id"]) == OURS:
        suite = SUITES[kem]

    # The vectors have associated data, which the library's public call leaves empty.
    opened = openssl.hpke._decrypt_with_aad(
        suite,
        raw(vector, "enc") + raw(vector, "ct"),
        private_handle(kem, raw(vector, "skRm")),
        raw(vector, "info"),
        raw(vector, "aad"),
    )

    assert opened == raw(vector, "pt")


@every_vector
def test_the_second_implementation_opens_the_vector(vector: Vector) -> None:
    kem, kdf, aead = (vector[field] for field in ("kem_id", "kdf_id", "aead_id"))
    secret = rfc9180.shared_secret(kem, raw(vector, "skRm"), raw(vector, "enc"))
    assert secret == raw(vector, "shared_secret")

    opened = rfc9180.open_base(
        kem, kdf, aead, secret, raw(vector, "ct"), info=raw(vector, "info"), aad=raw(vector, "aad")
    )

    assert opened == raw(vector, "pt")


@pytest.mark.parametrize("kem", list(Kem))
def test_an_hpke_stanza_opens_by_its_rfc_alone(kem: Kem) -> None:
    seed = bytes(range(32))
    stanza = HpkeIdentity(seed, kem=kem).recipient().wrap(KEY, context=CONTEXT)
    number = int(stanza.args["kem"])
    (sealed,) = numbers(stanza, "sealed")
    enc, wrapped = sealed[:-48], sealed[-48:]

    opened = rfc9180.open_base(
        number,
        *OURS,
        rfc9180.shared_secret(number, seed, enc),
        wrapped,
        info=b"strongroom/v1/wrap/hpke/" + CONTEXT,
    )

    assert opened == KEY


def test_a_passphrase_stanza_opens_by_its_documents_alone() -> None:
    stanza = PassphraseRecipient("CANARY-é", iterations=100_000).wrap(KEY, context=CONTEXT)
    kdf_salt, salt, wrapped = numbers(stanza, "kdf_salt", "salt", "wrapped")

    stretched = PBKDF2HMAC(SHA256(), 32, kdf_salt, 100_000).derive("CANARY-\u00e9".encode())
    key = HKDF(SHA512(), 32, salt, b"strongroom/v1/wrap/passphrase/" + CONTEXT).derive(stretched)

    assert AESGCM(key).decrypt(bytes(12), wrapped, None) == KEY


def test_a_key_file_stanza_opens_by_its_documents_alone() -> None:
    secret = bytes(range(32, 64))
    stanza = KeyFileRecipient(secret).wrap(KEY, context=CONTEXT)
    key_id, salt, wrapped = numbers(stanza, "key", "salt", "wrapped")

    key = HKDF(SHA512(), 32, salt, b"strongroom/v1/wrap/keyfile/" + CONTEXT).derive(secret)

    assert AESGCM(key).decrypt(bytes(12), wrapped, None) == KEY
    assert key_id == HKDF(SHA512(), 32, b"", b"strongroom/v1/keyfile-fingerprint").derive(secret)[:16]
