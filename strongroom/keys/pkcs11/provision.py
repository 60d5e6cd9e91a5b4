"""Making keys in a token: they never leave it, and are believed only after being read back."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from strongroom.errors import KeyServiceError
from strongroom.keys.ec import Curve, EcPublicKey
from strongroom.keys.errors import KeyExists, KeyNotFound, KeyServiceUnavailable, MechanismMissing, TokenFull
from strongroom.keys.pkcs11.aes import HsmAesKey
from strongroom.keys.pkcs11.ec import Pkcs11EcIdentity
from strongroom.keys.pkcs11.objects import MAX_VERSION, search, version_id
from strongroom.keys.pkcs11.session import Token

_NAMES = {Curve.P256: "secp256r1", Curve.P384: "secp384r1"}
_TRIAL = b"strongroom/v1/trial"


def next_version(token: Token) -> int:
    """Return the first version that no key in the token has, of whatever label."""
    return token.do(lambda session: max(_taken(session), default=0)) + 1


def generate_ec(token: Token, *, key: str, version: int, curve: Curve = Curve.P256) -> EcPublicKey:
    """Make an EC key pair in the token; return the public half.

    Raises:
        KeyExists: there is a key of that label and version, or another of that version.
        MechanismMissing: the token could not use such a key; none is made.
        TokenFull: the token said that it made the key, and has not kept it.
        KeyServiceError: anything else that the token refuses.
    """
    _made(token, version, lambda session: _pair(session, key, version, curve), needs="ECDH1_DERIVE")
    identity = Pkcs11EcIdentity(_afresh(token), key=key, version=version)
    _try(lambda: identity.recipient().wrap(bytes(32), context=_TRIAL), identity, token)
    return identity.public


def generate_aes(token: Token, *, key: str, version: int) -> str:
    """Make an AES-256 wrapping key in the token; return its public id. Raises as above."""
    _made(token, version, lambda session: _secret(session, key, version), needs="AES_KEY_WRAP")
    hsm_aes_key = HsmAesKey(_afresh(token), key=key, version=version)
    sample = os.urandom(32)
    if _kept(lambda: hsm_aes_key.unwrap(hsm_aes_key.wrap(sample)), token) != sample:
        raise KeyServiceError(f"{hsm_aes_key.describe()} does not open what it wrapped")
    return hsm_aes_key.id


def _made(token: Token, version: int, make: Callable[[Any], object], *, needs: str) -> None:
    """Have a key made. A full token may fail as one that was unplugged does: look which it is."""
    try:
        token.do_writing(lambda session: _make(token, session, version, make, needs=needs))
        return
    except KeyServiceUnavailable as error:
        problem = error
    if version in _afresh(token).do(_taken):
        raise problem
    raise TokenFull(f"{token.describe()} is there, and has not kept the new key")


def _make(token: Token, session: Any, version: int, make: Callable[[Any], object], *, needs: str) -> None:
    """Make a key unless its id is taken, or the token lacks the mechanism that the key is for.

    Some tokens (NSS) take a new key of an id for the old one and overwrite it, whatever the
    labels are, so an id is given once in a token.
    """
    version_id(version)
    if needs not in {each.name for each in session.token.slot.get_mechanisms() if hasattr(each, "name")}:
        raise MechanismMissing(f"{token.describe()} has no mechanism CKM_{needs}; no key was made")
    if version in _taken(session):
        raise KeyExists(f"{token.describe()} has a key of version {version} already")
    make(session)


def _taken(session: Any) -> set[int]:
    from pkcs11 import Attribute

    kinds = ("PRIVATE_KEY", "PUBLIC_KEY", "SECRET_KEY")
    ids = [each[Attribute.ID] for kind in kinds for each in search(session, kind)]
    numbers = (int.from_bytes(id_, "big") for id_ in ids if len(id_) <= 2)
    return {number for number in numbers if 1 <= number <= MAX_VERSION}


def _pair(session: Any, key: str, version: int, curve: Curve) -> None:
    from pkcs11 import Attribute, KeyType, MechanismFlag
    from pkcs11.util.ec import encode_named_curve_parameters

    named = {Attribute.EC_PARAMS: encode_named_curve_parameters(_NAMES[curve])}
    session.create_domain_parameters(KeyType.EC, named, local=True).generate_keypair(
        store=True,
        label=key,
        id=version_id(version),
        capabilities=MechanismFlag.DERIVE,
        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )


def _secret(session: Any, key: str, version: int) -> None:
    from pkcs11 import Attribute, KeyType, MechanismFlag

    session.generate_key(
        KeyType.AES,
        256,
        store=True,
        label=key,
        id=version_id(version),
        capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )


def _afresh(token: Token) -> Token:
    """Have the library read the token again: what it remembers is not what the token keeps."""
    token.begin_again()
    return token


def _try(wrap: Callable[[], Any], identity: Pkcs11EcIdentity, token: Token) -> None:
    if _kept(lambda: identity.unwrap(wrap(), context=_TRIAL), token) != bytes(32):
        raise KeyServiceError(f"{identity.describe()} does not open what was sealed to it")


def _kept(use: Callable[[], bytes | None], token: Token) -> bytes | None:
    try:
        return use()
    except KeyNotFound:
        raise TokenFull(f"{token.describe()} said that it made the key, and has not kept it") from None
