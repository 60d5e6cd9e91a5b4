"""Certificates: one installation vouches for its roles' keys, and only its fingerprint is pinned."""

from __future__ import annotations

import msgspec
import pytest

from strongroom.container import document
from strongroom.container.document import DocumentKind
from strongroom.container.errors import Tampered, UntrustedSigner
from strongroom.container.manifest import open_manifest, sign_manifest
from strongroom.container.ranges import BytesReader
from strongroom.container.reader import Container
from strongroom.container.signing import CertifiedSigner, Signer, Signers, parse_certificate, require_signer
from strongroom.container.wrapping import WrappingKey, open_detached, write_detached
from strongroom.container.writer import scrub
from tests.certified import certified
from tests.container.parts import (
    CONTROL,
    INSTALLATION,
    KEY,
    RECOVER,
    SIGNER,
    TRUSTED,
    about,
    entry,
    manifest,
    sealed,
    secret,
)


def test_one_fingerprint_opens_what_every_role_key_of_an_installation_signed() -> None:
    later = certified("control", installation=INSTALLATION)
    for signer in (CONTROL, RECOVER, later):
        assert (
            open_manifest(sign_manifest(manifest(), signer), trusted=TRUSTED).certificate
            == signer.certificate
        )
    record = WrappingKey.create([KEY]).rewrap([KEY]).record
    assert open_detached(write_detached(record, RECOVER), trusted=TRUSTED).record == record
    data, _ = sealed([secret("a")])
    assert Container.open(BytesReader(data), [KEY], trusted=TRUSTED).signer == INSTALLATION.fingerprint


def test_the_fingerprint_of_a_role_key_pins_nothing() -> None:
    with pytest.raises(UntrustedSigner):
        open_manifest(sign_manifest(manifest(), CONTROL), trusted=frozenset({CONTROL.fingerprint}))


def test_a_role_signs_its_own_kinds_of_document_alone_whether_pinned_or_not() -> None:
    record = WrappingKey.create([KEY]).rewrap([KEY]).record
    for trusted in (TRUSTED, None):
        with pytest.raises(UntrustedSigner, match="role 'seal'"):
            open_manifest(sign_manifest(manifest(), SIGNER), trusted=trusted)
        with pytest.raises(UntrustedSigner, match="role 'control'"):
            open_detached(write_detached(record, CONTROL), trusted=trusted)
        data, _ = sealed([secret("a")], signer=CONTROL)
        with pytest.raises(UntrustedSigner, match="role 'control'"):
            Container.open(BytesReader(data), [KEY], trusted=trusted)


def test_a_certificate_that_the_installation_did_not_sign_is_tampered() -> None:
    stranger = certified("control")
    claims = msgspec.structs.replace(stranger.certificate, installation=INSTALLATION.public.hex())
    data = sign_manifest(manifest(), CertifiedSigner.of(stranger, claims))
    for trusted in (TRUSTED, None):
        with pytest.raises(Tampered, match="installation's signature"):
            open_manifest(data, trusted=trusted)


@pytest.mark.parametrize("field", ["installation", "role", "key", "issued_at", "signature"])
def test_each_field_of_a_certificate_is_signed(field: str) -> None:
    other = certified("seal", installation=Signer.generate()).certificate
    changed = "2027-01-01T00:00:00Z" if field == "issued_at" else getattr(other, field)
    mixed = msgspec.structs.replace(CONTROL.certificate, **{field: changed})
    with pytest.raises(Tampered):
        require_signer(mixed, may=("control", "seal"), what="test", trusted=None)


def test_the_certificate_is_part_of_what_a_document_signs() -> None:
    again = certified("recover", installation=INSTALLATION, signer=CONTROL)
    data = sign_manifest(manifest(), CONTROL)
    swapped = data.replace(CONTROL.certificate.encode(), again.certificate.encode())
    with pytest.raises(Tampered):
        open_manifest(swapped, trusted=None)


def test_a_body_cannot_bring_a_frame_of_its_own() -> None:
    kind = DocumentKind("manifest", "manifest", ("control",))
    body = b'{},\n"certificate":' + CONTROL.certificate.encode()
    with pytest.raises(Tampered, match="frame"):
        document.parse(kind, document.write(kind, body, CONTROL), trusted=None)


def test_a_certificate_has_one_spelling() -> None:
    spelt = CONTROL.certificate.encode()
    assert parse_certificate(spelt) == CONTROL.certificate
    for other in (
        spelt.replace(b":", b": ", 1),
        spelt.replace(b"Z", b"+00:00"),
        spelt.upper(),
        spelt + b" ",
        spelt.replace(b'"role":"control",', b""),
        spelt.replace(b'"role"', b'"x":1,"role"'),
    ):
        assert parse_certificate(other) is None


def test_a_container_of_another_key_than_its_manifest_names_is_tampered() -> None:
    other = certified("seal", installation=INSTALLATION)
    data, _ = sealed([secret("a")], signer=other)
    with pytest.raises(Tampered, match="another key"):
        Container.open(BytesReader(data), [KEY], trusted=TRUSTED, entry=entry(0, "11", "22"))


def test_another_container_of_the_key_that_its_manifest_names_is_tampered() -> None:
    data, made = sealed([secret("a")])
    named = msgspec.structs.replace(
        entry(0, "11", "22"),
        wrapping_key=made.wrapping_key_id,
        signer=SIGNER.public.hex(),
        container_signature=made.signature.hex(),
    )
    Container.open(BytesReader(data), [KEY], trusted=TRUSTED, entry=named)
    other, _ = sealed([secret("a")])
    with pytest.raises(Tampered, match="another signature"):
        Container.open(BytesReader(other), [KEY], trusted=TRUSTED, entry=named)
    with pytest.raises(Tampered, match="another signature"):
        scrub(BytesReader(other), trusted=TRUSTED, entry=named)


def test_a_receipt_that_its_signer_did_not_make_is_tampered() -> None:
    zeros = msgspec.structs.replace(entry(0, "11", "22"), signature="00" * 64)
    with pytest.raises(Tampered, match="receipt"):
        open_manifest(sign_manifest(manifest(zeros), CONTROL), trusted=TRUSTED)


def test_a_container_is_held_to_each_thing_that_its_manifest_says_of_it() -> None:
    data, made = sealed([secret("a"), secret("b")], about_=about(pieces=1))
    right = msgspec.structs.replace(
        entry(0, "00", "00"),
        secrets=2,
        versions=2,
        first=made.first_hash.hex(),
        last=made.last_hash.hex(),
        wrapping_key=made.wrapping_key_id,
    )
    list(_held(data, right).secrets())
    wrongs = (
        {"piece": 1},
        {"secrets": 1},
        {"versions": 3},
        {"first": "00" * 16},
        {"last": "ff" * 16},
        {"wrapping_key": "00" * 16},
    )
    for wrong in wrongs:
        with pytest.raises(Tampered):
            _held(data, msgspec.structs.replace(right, **wrong))
    with pytest.raises(Tampered, match="place or backup"):
        _held(data, right, right)


def _held(data: bytes, *entries: object) -> Container:
    container = Container.open(BytesReader(data), [KEY], trusted=TRUSTED)
    container.check_entry(manifest(*entries), entries[0])  # type: ignore[arg-type]
    return container


def test_distrust_narrows_an_installation_and_an_installations_name_does_not_widen_it() -> None:
    data = sign_manifest(manifest(), CONTROL)
    narrowed = Signers(TRUSTED, distrusted={CONTROL.fingerprint: "2026-01-01: leak"})
    for trusted in (narrowed, narrowed | TRUSTED, narrowed.with_named(TRUSTED)):
        with pytest.raises(UntrustedSigner, match="distrusted here"):
            open_manifest(data, trusted=trusted)
    assert open_manifest(data, trusted=narrowed.with_named({CONTROL.fingerprint})).manifest == manifest()


def test_naming_a_leaked_role_key_does_not_let_its_holder_certify_others() -> None:
    narrowed = Signers(TRUSTED, distrusted={CONTROL.fingerprint: "2026-01-01: leak"})
    forged = certified("control", installation=CONTROL)
    with pytest.raises(UntrustedSigner):
        open_manifest(sign_manifest(manifest(), forged), trusted=narrowed.with_named({CONTROL.fingerprint}))
