"""Opening with an EC private key that stays in the HSM."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from strongroom.container.stanza import Stanza
from strongroom.errors import KeyServiceError
from strongroom.keys.ec import Curve, EcPublicKey, EcRecipient, open_stanza
from strongroom.keys.holder import KeyHolder
from strongroom.keys.pkcs11.objects import find, require_use, version_id
from strongroom.keys.pkcs11.session import Token

_OCTET_STRING = 0x04
_UNCOMPRESSED = 0x04


class Pkcs11EcIdentity(KeyHolder):
    """Opens with the key ``key`` of version ``version`` in a token.

    Args:
        public: the public half; read from the token on first use if left out. With it, a
            stanza for somebody else is skipped without a call to the HSM.
    """

    __slots__ = ("_public", "key", "token", "version")

    def __init__(self, token: Token, *, key: str, version: int, public: EcPublicKey | None = None) -> None:
        version_id(version)
        self.token = token
        self.key = key
        self.version = version
        self._public = public

    @property
    def public(self) -> EcPublicKey:
        """The public half. Raises KeyServiceError where it has to be read and cannot be."""
        if self._public is None:
            self._public = read_public(self.token, self.key, self.version)
        return self._public

    def describe(self) -> str:
        return f"the HSM key `{self.key}` v{self.version} in {self.token.describe()}"

    def recipient(self) -> EcRecipient:
        """Return the sealing side."""
        return EcRecipient(self.public, key=self.key, version=self.version, token=self.token.label or "")

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if the stanza is for another key or version.

        Raises:
            Malformed: the stanza breaks the format.
            KeyServiceError: the HSM is away or refuses; see :meth:`Token.do`.
        """
        if stanza.type != EcRecipient.type:
            return None
        return open_stanza(
            stanza, public=self.public, version=self.version, context=context, agree=self._agree
        )

    def _agree(self, point: bytes) -> bytes:
        return self.token.do(lambda session: self._derive(session, point))

    def _derive(self, session: Any, point: bytes) -> bytes:
        return derive(
            find(self.token, session, "PRIVATE_KEY", self.key, self.version), point, self.public.curve
        )


def derive(private: Any, point: bytes, curve: Curve) -> bytes:
    """Return the x-coordinate of the shared point (SEC 1 3.3.1, PKCS#11 ``CKM_ECDH1_DERIVE``)."""
    from pkcs11 import KDF, Attribute, KeyType, Mechanism

    require_use(private, "derive_key", "CKA_DERIVE")
    secret = private.derive_key(
        KeyType.GENERIC_SECRET,
        8 * curve.field,
        mechanism=Mechanism.ECDH1_DERIVE,
        mechanism_param=(KDF.NULL, None, point),
        template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
    )
    try:
        return bytes(secret[Attribute.VALUE])
    finally:
        with suppress(Exception):  # a session object goes with its session
            secret.destroy()


def read_public(token: Token, key: str, version: int) -> EcPublicKey:
    """Read the public half from the token. Raises KeyServiceError."""
    from pkcs11 import Attribute

    def read(session: Any) -> bytes:
        return bytes(find(token, session, "PUBLIC_KEY", key, version)[Attribute.EC_POINT])

    return public_of(token.do(read), f"the key `{key}` v{version} of {token.describe()}")


def public_of(point: bytes, what: str) -> EcPublicKey:
    """Return the key of a ``CKA_EC_POINT``: a point in a DER octet string, or bare in some tokens."""
    if len(point) > 2 and point[0] == _OCTET_STRING and point[1] == len(point) - 2:
        point = point[2:]
    for curve in Curve:
        if len(point) == curve.point and point[0] == _UNCOMPRESSED:
            return EcPublicKey(curve, point)
    raise KeyServiceError(f"{what} is on neither P-256 nor P-384", hint="Make one on P-256.")
