"""Trust lists: what an installation key says of the keys that it certified."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from strongroom.container.document import write
from strongroom.container.errors import Malformed, Tampered, UnsupportedVersion, UntrustedSigner
from strongroom.container.manifest import MANIFEST, open_manifest, sign_manifest
from strongroom.container.marks import (
    HEAD,
    MAX_NUMBER,
    TRUST_LIST,
    Distrusted,
    TrustList,
    number_in,
    sign_list,
)
from strongroom.container.signing import Signer, is_small_order, verify
from tests.certified import certified
from tests.container.parts import CONTROL, INSTALLATION, TRUSTED, manifest

AT = "2026-11-25T02:45:01Z"
IDENTITY = bytes([1, *bytes(31)])
FITS_ANY = bytes([1, *bytes(63)])


def listed(*leaked: Signer, number: int = 1, successor: Signer | None = None) -> TrustList:
    keys = sorted(leaked, key=lambda key: key.public)
    return TrustList(
        number=number,
        distrusted=tuple(Distrusted(key=key.public.hex(), since=AT, reason="lost") for key in keys),
        successor=successor.public.hex() if successor else None,
        made_at=AT,
    )


def test_a_list_comes_back_as_it_was_signed() -> None:
    made = listed(CONTROL, Signer.generate(), number=7, successor=Signer.generate())
    opened = TRUST_LIST.open(sign_list(made, INSTALLATION), trusted=TRUSTED)
    assert opened.statement == made
    assert opened.fingerprint == INSTALLATION.fingerprint
    assert made.object_name == "trust/00000007.json"


def test_the_installation_key_alone_signs_a_list() -> None:
    by_stranger = sign_list(listed(), Signer.generate())
    with pytest.raises(UntrustedSigner, match="not trusted here"):
        TRUST_LIST.open(by_stranger, trusted=TRUSTED)
    made = sign_list(listed(), INSTALLATION)
    for role in ("control", "installation"):  # the latter of another key, which it certified
        other = certified(role, installation=INSTALLATION)
        body = made.split(b"\n")[1][len(b'"body":') : -1]
        with pytest.raises(UntrustedSigner):
            TRUST_LIST.open(write(TRUST_LIST, body, other), trusted=TRUSTED)


def test_a_list_of_too_many_keys_is_not_written() -> None:
    keys = tuple(Distrusted(key=f"{n:064x}", since=AT, reason="x" * 1000) for n in range(1000))
    with pytest.raises(Malformed, match="larger"):
        sign_list(replace(listed(), distrusted=keys), INSTALLATION)


@pytest.mark.parametrize("number", [0, MAX_NUMBER + 1])
def test_a_number_out_of_its_range_is_refused(number: int) -> None:
    with pytest.raises(Malformed, match="range"):
        sign_list(listed(number=number), INSTALLATION)


def test_the_names_of_lists_are_told_from_others() -> None:
    assert number_in("trust/00000012.json") == number_in("trust/00000012.json.r9") == 12
    for odd in ("12.json", "00000012.json.r10", "x/00000012.json", "\u06600000012.json"):
        assert number_in(f"trust/{odd}") is None


def test_what_was_written_before_the_first_release_is_refused_by_name() -> None:
    body = sign_manifest(manifest(), CONTROL).split(b"\n")[1][len(b'"body":') : -1]
    before = write(MANIFEST, body.replace(b',"trust":0}', b"}"), CONTROL)
    with pytest.raises(UnsupportedVersion, match="before Strongroom's first release"):
        open_manifest(before, trusted=TRUSTED)
    old = b'{"ledger":"%b","event":1,"at":"%b","sha256":"%b","made_at":"%b"}'
    head = old % (b"ab" * 32, AT.encode(), b"cd" * 32, AT.encode())
    with pytest.raises(UnsupportedVersion, match="before Strongroom's first release"):
        HEAD.parse(write(HEAD, head, CONTROL), trusted=TRUSTED)


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize("y", [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18])
def test_no_signature_fits_under_a_key_of_small_order(y: int, sign: int) -> None:
    public = bytearray(y.to_bytes(32, "little"))
    public[31] |= sign
    assert is_small_order(bytes(public))
    with pytest.raises(Tampered):
        verify(bytes(public), b"strongroom/v1/trust", b"anything", FITS_ANY)


def test_an_installation_for_which_anybody_can_sign_certifies_nobody() -> None:
    stranger = certified("control").certificate
    forged = replace(stranger, installation=IDENTITY.hex(), signature=FITS_ANY.hex())
    with pytest.raises(Tampered):
        forged.verify()
