"""What is told of a secret by itself: each check red and green, and never a value in what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from strongroom.model import Media, RotationSchedule, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.operations.checks import value_checks as pem_of
from strongroom.operations.checks.value_checks import PLACEHOLDERS, check, is_placeholder

NOW = datetime(2026, 11, 26, tzinfo=UTC)
DAY = timedelta(days=1)


def secret(value: bytes | None = b"CANARY-VALUE", **fields: object) -> Secret:
    version = {
        "media": fields.pop("media", Media.TEXT),
        "state": fields.pop("state", VersionState.LIVE),
        "created_at": fields.pop("made", None),
    }
    held = None if value is None else SecretBytes(value)
    return Secret(name="app/one", versions=(SecretVersion(number=1, value=held, **version),), **fields)  # type: ignore[arg-type]


def found(one: Secret, *, demanded: bool = False) -> dict[str, bool]:
    """Return the checks that said something, each with whether it is wrong; no value is in their words."""
    findings = list(check(one, now=NOW, demanded=demanded))
    held = one.current.value
    for finding in findings:
        assert "CANARY" not in finding.text
        assert (
            held is None or not held.reveal().strip() or held.reveal().decode("latin-1") not in finding.text
        )
    return {finding.check: finding.wrong for finding in findings}


def pair(
    *, ends: timedelta = 365 * DAY, begins: timedelta = -DAY
) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CANARY-HOST")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(NOW + begins).not_valid_after(NOW + ends)
    return key, made.sign(key, SHA256()).public_bytes(Encoding.PEM)


def pem(
    key: ec.EllipticCurvePrivateKey,
    form: PrivateFormat = PrivateFormat.PKCS8,
    seal: KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(Encoding.PEM, form, seal or NoEncryption())


KEY, CERTIFICATE = pair()
OTHER_KEY, OTHER = pair()


def test_a_sound_secret_is_not_spoken_of() -> None:
    assert (
        found(
            secret(
                expires_at="2027-11-26T00:00:00Z",
                rotation=RotationSchedule(days=90),
                made="2026-11-20T00:00:00Z",
            )
        )
        == {}
    )


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (secret(b""), {"empty": True}),
        (secret(b" \n\t"), {"empty": True}),
        (secret(None), {"no-value": True}),
        (secret(None, state=VersionState.DELETED), {"deleted": False}),
        (secret(expires_at="2026-11-25T00:00:00Z"), {"expired": True}),
        (secret(expires_at="2026-11-26"), {"expired": True}),
        (secret(expires_at="2026-12-09T00:00:00+02:00"), {"expires-soon": False}),
        (secret(expires_at="2026-12-11T00:00:00Z"), {}),
        (secret(expires_at="CANARY soon"), {"expiry-unreadable": False}),
        (secret(rotation=RotationSchedule(days=90), made="2026-08-01T00:00:00Z"), {"rotation-due": False}),
        (secret(rotation=RotationSchedule(days=90, enabled=False), made="2026-08-01T00:00:00Z"), {}),
        (secret(rotation=RotationSchedule(days=10**12), made="0001-01-01T00:00:00Z"), {}),
        (secret(rotation=RotationSchedule(days=90)), {}),
    ],
)
def test_dates_and_emptiness_are_told(one: Secret, expected: dict[str, bool]) -> None:
    assert found(one) == expected


def test_one_that_was_deleted_is_wrong_if_somebody_named_it() -> None:
    assert found(secret(None, state=VersionState.DELETED), demanded=True) == {"deleted": True}


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (b'{"a": 1}', "json", {}),
        (b'{"a": CANARY', "json", {"json-unreadable": True}),
        (b"[" * 100_000, "JSON", {"json-unreadable": True}),
        (b"1" * 5000, "json", {}),
        (b"postgresql://u:CANARY@db:5432/x?y=1", "database_url", {}),
        (b"postgresql://u:CANARY@db:port/x", "database-url", {"url-unreadable": True}),
        (b"postgresql://u:CANARY@one:5432,[::1]:5433/x", "database_url", {}),
        (b"postgresql://u:CANARY@one:5432,two:port/x", "database_url", {"url-unreadable": True}),
        (b"CANARY no url", "Database URL", {"url-unreadable": True}),
        (b"CANARY no url", "words for people", {}),
    ],
)
def test_a_type_that_is_unmistakable_is_taken_at_its_word(
    value: bytes, kind: str, expected: dict[str, bool]
) -> None:
    assert found(secret(value, type=kind)) == expected


@pytest.mark.parametrize(
    "value", ["changeme", "Change-Me\n", "TODO", "tbd", "<your key here>", "${DB}", "{{ db }}"]
)
def test_a_placeholder_is_told_and_not_repeated(value: str) -> None:
    assert found(secret(value.encode())) == {"placeholder": True}
    assert found(secret(json.dumps({"password": value}).encode(), media=Media.JSON)) == {"placeholder": True}


@pytest.mark.parametrize(
    "value", ["changeme1", "password", "a <b> c", "<a><b>", "$HOME", "todo list", "<" + "x" * 200 + ">"]
)
def test_what_somebody_may_mean_is_no_placeholder(value: str) -> None:
    assert not is_placeholder(value)


def test_every_placeholder_is_found_by_its_own_rule() -> None:
    assert all(map(is_placeholder, PLACEHOLDERS))


def certificates() -> Iterator[tuple[bytes, str, dict[str, bool]]]:
    old, soon, later = (
        pair(ends=e, begins=b)[1] for e, b in ((-DAY, -9 * DAY), (9 * DAY, -DAY), (9 * DAY, DAY))
    )
    yield CERTIFICATE, "certificate", {}
    yield CERTIFICATE + OTHER, "certificate-chain", {}
    yield old, "certificate", {"certificate-expired": True}
    yield CERTIFICATE + old, "generic", {"certificate-expired": True}
    yield soon, "certificate", {"certificate-expires-soon": False}
    yield later, "certificate", {"certificate-not-yet": True}
    yield b"CANARY", "certificate", {"certificate-unreadable": True}
    yield CERTIFICATE.replace(b"MII", b"AAA", 1), "generic", {"certificate-unreadable": True}
    yield CERTIFICATE[:-30], "generic", {"pem-unreadable": True}
    yield pem(KEY), "private_key", {}
    yield pem(KEY, PrivateFormat.OpenSSH), "ssh-private-key", {}
    yield pem(KEY, PrivateFormat.TraditionalOpenSSL), "generic", {}
    yield CERTIFICATE, "private_key", {"key-unreadable": True}
    yield pem(KEY).replace(b"MIG", b"AAA", 1), "private_key", {"key-unreadable": True}
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        yield pem(KEY, form, BestAvailableEncryption(b"CANARY")), "private_key", {"key-encrypted": False}
    yield CERTIFICATE + pem(KEY), "generic", {}
    yield pem(KEY) + OTHER + CERTIFICATE, "generic", {}
    yield CERTIFICATE + pem(OTHER_KEY), "generic", {"key-mismatch": True}


@pytest.mark.parametrize(("value", "kind", "expected"), list(certificates()))
def test_certificates_and_keys_parse_and_belong_together(
    value: bytes, kind: str, expected: dict[str, bool]
) -> None:
    assert found(secret(value, type=kind)) == expected


def test_certificate_and_key_in_the_fields_of_one_secret_belong_together() -> None:
    for key, expected in ((KEY, {}), (OTHER_KEY, {"key-mismatch": True})):
        fields = {"tls.crt": CERTIFICATE.decode(), "tls.key": pem(key).decode(), "n": 1}
        assert found(secret(json.dumps(fields).encode(), media=Media.JSON)) == expected


def test_a_value_of_beginnings_without_an_end_is_looked_at_once() -> None:
    labels = b"".join(b"-----BEGIN CANARY %d-----" % number for number in range(100_000))
    assert found(secret(labels)) == {"pem-unreadable": True}


def test_of_very_many_blocks_the_first_are_looked_at() -> None:
    assert found(secret(CERTIFICATE * (pem_of.MOST - 1))) == {}
    assert found(secret(CERTIFICATE * pem_of.MOST + pem(OTHER_KEY))) == {"pem-many": False}
