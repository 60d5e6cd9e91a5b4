"""The manifest, the receipt and their signatures."""

from __future__ import annotations

import json

import msgspec
import pytest

from strongroom.container.errors import Malformed, NotABackup, Tampered, UntrustedSigner
from strongroom.container.manifest import open_manifest, parse_manifest, sign_manifest
from strongroom.container.signing import Receipt, Signer, sign_receipt, verify, verify_receipt
from strongroom.container.wrapping import WrappingKey, open_detached, write_detached
from tests.certified import certified
from tests.container.parts import CONTROL, INSTALLATION, KEY, RECOVER, SIGNER, TRUSTED, entry, manifest


def test_a_manifest_comes_back_as_it_was_and_is_the_same_bytes_each_time() -> None:
    data = sign_manifest(manifest(), CONTROL)
    assert parse_manifest(data, trusted=TRUSTED) == manifest()
    assert sign_manifest(parse_manifest(data, trusted=None), CONTROL) == data
    assert open_manifest(data, trusted=None).fingerprint == INSTALLATION.fingerprint


def test_any_json_reader_can_read_a_manifest() -> None:
    data = sign_manifest(manifest(), CONTROL)
    content = json.loads(data)
    assert content["format"] == "strongroom-manifest/1"
    assert content["body"]["backup_id"] == manifest().backup_id
    assert int(content["length"]) == len(data)


def test_the_order_in_which_tags_were_given_does_not_change_the_manifest() -> None:
    first = manifest()
    tags = dict(reversed(list(first.selection.tags.items())))
    second = msgspec.structs.replace(first, selection=msgspec.structs.replace(first.selection, tags=tags))
    assert sign_manifest(first, CONTROL) == sign_manifest(second, CONTROL)


def test_a_manifest_of_an_unknown_signer_is_refused() -> None:
    data = sign_manifest(manifest(), certified("control"))
    with pytest.raises(UntrustedSigner):
        parse_manifest(data, trusted=TRUSTED)
    assert parse_manifest(data, trusted=None) == manifest()


def test_a_manifest_of_before_there_were_certificates_is_named_as_perhaps_that() -> None:
    data = sign_manifest(manifest(), CONTROL)
    body, end = data.index(b'\n"certificate":'), data.rindex(b'\n"signature"')
    without = body - end + len(b'\n"signer":"",') + 64
    old = data[:body] + b'\n"signer":"%b",' % (b"0" * 64) + data[end:]
    old = old.replace(b"%012d" % len(data), b"%012d" % (len(data) + without))
    with pytest.raises(Tampered, match="frame") as caught:
        parse_manifest(old, trusted=TRUSTED)
    assert "before the first release" in str(caught.value.hint)

    with pytest.raises(Tampered, match="frame") as caught:
        parse_manifest(data.replace(b'"certificate"', b'"certificatE"'), trusted=TRUSTED)
    assert "before the first release" not in str(caught.value.hint)


def test_one_kind_of_document_does_not_pass_for_another() -> None:
    envelope = write_detached(WrappingKey.create([KEY]).record, RECOVER)
    with pytest.raises(NotABackup):
        parse_manifest(envelope, trusted=None)
    with pytest.raises(NotABackup):
        open_detached(sign_manifest(manifest(), CONTROL), trusted=None)
    renamed = envelope.replace(b"strongroom-envelope", b"strongroom-manifest")
    with pytest.raises(Tampered):
        parse_manifest(renamed, trusted=None)


def test_bytes_after_a_manifest_are_called_malformed() -> None:
    with pytest.raises(Malformed, match="follows"):
        parse_manifest(sign_manifest(manifest(), CONTROL) + b"\n", trusted=None)


def test_a_manifest_with_a_gap_an_overlap_or_wrong_sums_is_neither_written_nor_read() -> None:
    gap = manifest(entry(0, "11", "22"), entry(2, "33", "44"))
    overlap = manifest(entry(0, "11", "33"), entry(1, "33", "44"))
    backwards = manifest(entry(0, "22", "11"))
    short = msgspec.structs.replace(manifest(), previous="00")
    sums = manifest().counts
    wrong = [msgspec.structs.replace(sums, **{name: 1}) for name in ("secrets", "versions", "size")]
    wrongs = [msgspec.structs.replace(manifest(), counts=counts) for counts in wrong]
    for broken in (gap, overlap, backwards, short, *wrongs):
        with pytest.raises(Malformed):
            sign_manifest(broken, CONTROL)


OF_TWO: list[dict[str, object]] = [
    {"sha256": "ab" * 31},
    {"sha256": "AB" * 32},
    {"signer": "gh" * 32},
    {"signature": "ef" * 32},
    {"container_signature": "ef" * 32},
    {"container_signature": ""},
    {"wrapping_key": "cd" * 32},
    {"wrapping_key": ""},
    {"first": "33" * 15 + "3g"},
    {"last": ""},
    {"size": -1},
    {"secrets": -1},
    {"versions": -1},
    {"secrets": 0, "versions": 0},
]
"""What may not be in the second of two sealed containers whose first is as it should be."""


@pytest.mark.parametrize("wrong", OF_TWO, ids=str)
def test_each_field_of_each_container_is_held_to_the_format(wrong: dict[str, object]) -> None:
    second = msgspec.structs.replace(entry(1, "33", "44"), **wrong)
    with pytest.raises(Malformed):
        sign_manifest(manifest(entry(0, "11", "22"), second), CONTROL)


def test_only_sealed_containers_have_wrapping_keys_and_ranges_of_hashes() -> None:
    first = msgspec.structs.replace(entry(0, "", ""), wrapping_key="", container_signature="")
    sign_manifest(manifest(first, sealed=False), CONTROL)
    signed = {"container_signature": "ef" * 64}
    for wrong in (signed, {"wrapping_key": "cd" * 16}, {"first": "11" * 16}, {"last": "11" * 16}):
        with pytest.raises(Malformed):
            sign_manifest(manifest(msgspec.structs.replace(first, **wrong), sealed=False), CONTROL)


def test_a_name_is_in_one_container_at_most() -> None:
    found = manifest(entry(0, "11", "22"), entry(1, "33", "44"))
    assert [c.piece for c in found.candidates(bytes([0x11] * 16))] == [0]
    assert [c.piece for c in found.candidates(bytes([0x22] * 16))] == [0]
    assert [c.piece for c in found.candidates(bytes([0x44] * 16))] == [1]
    assert found.candidates(bytes([0x2A] * 16)) == ()
    assert found.candidates(bytes([0xFF] * 16)) == ()


RECEIPT = Receipt(
    run="r",
    piece=1,
    sha256="ab",
    size=2,
    secrets=3,
    versions=4,
    first="f",
    last="l",
    wrapping_key="w",
    container_signature="s",
)


def test_a_receipt_is_valid_for_what_was_signed_alone() -> None:
    signature = sign_receipt(RECEIPT, SIGNER)
    verify_receipt(RECEIPT, signature, [SIGNER.public])
    for field in RECEIPT.__struct_fields__:
        other = getattr(RECEIPT, field) * 2
        with pytest.raises(Tampered):
            verify_receipt(msgspec.structs.replace(RECEIPT, **{field: other}), signature, [SIGNER.public])
    with pytest.raises(Tampered):
        verify_receipt(RECEIPT, signature, [Signer.generate().public])
    with pytest.raises(Malformed):
        verify_receipt(RECEIPT, signature.upper(), [SIGNER.public])


def test_a_signature_holds_in_its_domain_only() -> None:
    signature = SIGNER.sign(b"one", b"message")
    verify(SIGNER.public, b"one", b"message", signature)
    for domain, message in ((b"two", b"message"), (b"one", b"other"), (b"on", b"e\x00message")):
        with pytest.raises(Tampered):
            verify(SIGNER.public, domain, message, signature)
    with pytest.raises(ValueError, match="zero byte"):
        SIGNER.sign(b"on\x00e", b"")


def test_a_signer_comes_back_from_its_private_bytes() -> None:
    signer = Signer.generate()
    assert Signer.from_private(signer.private_bytes()).fingerprint == signer.fingerprint
    assert signer.fingerprint.startswith("sr1:")
    assert len(signer.fingerprint) == 68
