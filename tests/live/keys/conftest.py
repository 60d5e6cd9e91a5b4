"""Two makes of HSM, each with a few keys in it: made once, and shared by the tests that only use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from strongroom.keys.ec import Curve, EcPublicKey
from strongroom.keys.pkcs11.session import Token
from strongroom.keys.pkcs11.token_keys import generate_aes, generate_ec
from tests.live.nss import Nss, shared
from tests.live.softhsm import SoftHsm

EC, EC_384, EC_OTHER, AES, AES_OTHER = 1, 2, 3, 4, 5
"""The versions of the keys `backup` in each token."""

TokenOf = Callable[[], Token]


class Hsm:
    """One make of HSM: gives token objects as a worker would make them, and what the keys' ids are."""

    def __init__(self, name: str, token: TokenOf) -> None:
        self.name = name
        self.token = token
        made = token()
        self.public: dict[int, EcPublicKey] = {
            EC: generate_ec(made, key="backup", version=EC),
            EC_384: generate_ec(made, key="backup", version=EC_384, curve=Curve.P384),
            EC_OTHER: generate_ec(made, key="backup", version=EC_OTHER),
        }
        self.ids = {each: generate_aes(made, key="backup", version=each) for each in (AES, AES_OTHER)}


@pytest.fixture(scope="session")
def softhsm() -> Iterator[SoftHsm]:
    """SoftHSM without a token: make one of your own."""
    with SoftHsm() as made:
        yield made


@pytest.fixture(scope="session")
def nss() -> Nss:
    """NSS with its one token."""
    return shared()


@pytest.fixture(scope="session")
def softhsm_keys(softhsm: SoftHsm) -> Hsm:
    softhsm.make_token("backup")
    return Hsm("SoftHSM", lambda: softhsm.token("backup"))


@pytest.fixture(scope="session")
def nss_keys(nss: Nss) -> Hsm:
    return Hsm("NSS", nss.token)


@pytest.fixture(params=["softhsm_keys", "nss_keys"])
def hsm(request: pytest.FixtureRequest) -> Hsm:
    """Each make in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Hsm)
    return found
