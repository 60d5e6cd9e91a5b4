"""An EC key in software: what an HSM does, for tests that need none."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ec import ECDH, EllipticCurvePrivateKey

from strongroom.container.wrapping import Stanza
from strongroom.keys.ec import EcPublicKey, EcRecipient, open_stanza
from strongroom.keys.passphrase import KeyHolder


class EcIdentity(KeyHolder):
    """Opens with the private key in software, as an HSM does that it was imported into."""

    __slots__ = ("_private", "public", "version")

    def __init__(self, private: EllipticCurvePrivateKey, *, version: int) -> None:
        self._private = private
        self.public = EcPublicKey.of(private.public_key())
        self.version = version

    def describe(self) -> str:
        return f"the private key {self.public.id.hex()[:16]} in software, v{self.version}"

    def recipient(self) -> EcRecipient:
        """Return the sealing side."""
        return EcRecipient(self.public, key=self.public.id.hex()[:16], version=self.version)

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if the stanza is for another key or version."""
        return open_stanza(
            stanza, public=self.public, version=self.version, context=context, agree=self._agree
        )

    def _agree(self, point: bytes) -> bytes:
        return self._private.exchange(ECDH(), EcPublicKey(self.public.curve, point).handle())
