"""The envelope opens for what a known role signed, and for nothing else."""

from __future__ import annotations

import json

import pytest

from strongroom.container.signing import Signer
from strongroom.operations.errors import MessageRefused
from workers.envelope import SignedDict, SignedList, open_, seal

SIGNER = Signer.generate()
OTHER = Signer.generate()
KEYS = {"seal": (SIGNER.public,), "transfer": (OTHER.public,)}
BODY = [[], {"run": "r", "dispatch": 7}, {}]


def sealed(data: object = BODY, *, role: str = "seal", signer: Signer = SIGNER) -> str:
    return seal(data, role=role, signer=signer, encode=json.dumps)


def opened(raw: str | bytes) -> SignedList | SignedDict:
    return open_(raw, trusted=lambda role: KEYS.get(role, ()))


def test_a_signed_body_comes_back_with_its_senders_role() -> None:
    body = opened(sealed())

    assert list(body) == BODY
    assert body.sender == "seal"


def test_a_signed_object_comes_back_as_one() -> None:
    body = opened(sealed({"method": "ping"}))

    assert isinstance(body, SignedDict)
    assert (dict(body), body.sender) == ({"method": "ping"}, "seal")


def test_every_single_changed_byte_is_refused() -> None:
    raw = sealed().encode()
    for place in range(len(raw)):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(raw)
            changed[place] ^= flip
            with pytest.raises(MessageRefused):
                opened(bytes(changed))


def test_every_truncation_is_refused() -> None:
    raw = sealed().encode()
    for length in range(len(raw)):
        with pytest.raises(MessageRefused):
            opened(raw[:length])


def test_a_signature_of_another_role_is_refused() -> None:
    with pytest.raises(MessageRefused, match="not of role 'seal'"):
        opened(sealed(role="seal", signer=OTHER))


def test_a_role_that_nobody_trusts_is_refused() -> None:
    with pytest.raises(MessageRefused, match="unknown role"):
        opened(sealed(role="stranger"))


def test_an_unsigned_body_is_refused() -> None:
    with pytest.raises(MessageRefused, match="unsigned"):
        opened(json.dumps(BODY))


@pytest.mark.parametrize("data", [7, "text", None, True])
def test_a_signed_body_of_another_shape_is_refused(data: object) -> None:
    with pytest.raises(MessageRefused, match="shape"):
        opened(sealed(data))


def test_a_huge_message_is_refused_before_its_signature_is_looked_at() -> None:
    with pytest.raises(MessageRefused, match="bytes"):
        opened(b"SR1.seal.1." + b"A" * 2_000_000)


def test_what_a_removed_host_signs_is_refused_by_its_name() -> None:
    gone = Signer.generate()

    def read(raw: str) -> SignedList | SignedDict:
        return open_(raw, trusted=lambda role: KEYS.get(role, ()), removed=lambda role: {gone.public: "eve"})

    with pytest.raises(MessageRefused, match="role 'seal' from host 'eve', which was removed"):
        read(sealed(signer=gone))
    with pytest.raises(MessageRefused, match="not of role 'seal'"):
        read(sealed(signer=Signer.generate()))
    assert list(read(sealed())) == BODY
