"""Sealing for an EC key pair whose private half lies in an HSM: HPKE with DHKEM over NIST curves.

The backup host holds the public half alone and calls no HSM. Whoever opens has the HSM do the
Diffie-Hellman (``CKM_ECDH1_DERIVE`` without a KDF), and nothing of the private key leaves it.
Suite as for the other HPKE recipients: HKDF-SHA-512, AES-256-GCM. Not post-quantum: HSMs have no
ML-KEM yet, so put such a key beside a quorum in an all-of recipient.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from enum import StrEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from msgspec import Struct

from strongroom.container.cobblestone import KEY_SIZE, require_key
from strongroom.container.errors import Malformed
from strongroom.container.wrapping import Stanza
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import hpke, keywrap
from strongroom.keys.hpke import CHECKSUM, PUBLIC
from strongroom.keys.passphrase import KeyHolder

TYPE = "pkcs11-ec"
INFO = b"strongroom/v1/wrap/pkcs11-ec/"
MAX_VERSION = 0xFFFF
TAG = 16
_ARGS = frozenset({"kem", "key", "sealed", "version"})
_ID = 32

Agree = Callable[[bytes], bytes]
"""Does the Diffie-Hellman: takes the other side's point, returns the shared x-coordinate."""


class Curve(StrEnum):
    """A NIST curve and its DHKEM."""

    P256 = "p256"
    P384 = "p384"

    @property
    def kem(self) -> int:
        """The KEM's number in IANA's registry of HPKE."""
        return 0x0010 if self is Curve.P256 else 0x0011

    @property
    def hash_name(self) -> str:
        """The hash inside the KEM."""
        return "sha256" if self is Curve.P256 else "sha384"

    @property
    def field(self) -> int:
        """Bytes of a coordinate."""
        return 32 if self is Curve.P256 else 48

    @property
    def point(self) -> int:
        """Bytes of a point: uncompressed, as HPKE serializes it (RFC 9180 7.1.1)."""
        return 1 + 2 * self.field

    @property
    def words(self) -> str:
        return "P-256" if self is Curve.P256 else "P-384"


SUITES = {
    Curve.P256: Suite(KEM.P256, KDF.HKDF_SHA512, AEAD.AES_256_GCM),
    Curve.P384: Suite(KEM.P384, KDF.HKDF_SHA512, AEAD.AES_256_GCM),
}
_CURVES = {Curve.P256: SECP256R1, Curve.P384: SECP384R1}


class EcPublicKey(Struct, frozen=True):
    """The half that seals: an uncompressed point.

    Raises:
        ConfigError: the bytes are no point of the curve.
    """

    curve: Curve
    raw: bytes

    def __post_init__(self) -> None:
        self.handle()

    @property
    def id(self) -> bytes:
        """SHA-256 of the raw bytes."""
        return hashlib.sha256(self.raw).digest()

    def handle(self) -> EllipticCurvePublicKey:
        """Return the key in the form that encryption takes."""
        point = on_curve(self.curve, self.raw)
        if point is None:
            raise ConfigError(f"the public key is no point of {self.curve.words}", hint=_AGAIN)
        return point

    def __str__(self) -> str:
        """One line of text, ending in a checksum: ``srpub1:CURVE:base64url``."""
        data = self.raw + self.id[:CHECKSUM]
        return f"{PUBLIC}:{self.curve}:{base64.urlsafe_b64encode(data).decode().rstrip('=')}"

    @classmethod
    def parse(cls, text: str) -> EcPublicKey:
        """Read the line that ``str`` gave, or a PEM public key. Raises ConfigError."""
        text = text.strip()
        if text.startswith("-----BEGIN PUBLIC KEY-----"):
            return cls.of(_pem(text))
        prefix, _, rest = text.partition(":")
        curve, _, encoded = rest.partition(":")
        if prefix != PUBLIC or curve not in list(Curve):
            raise ConfigError(
                "that is not the public half of an HSM's key", hint=f"It begins with '{PUBLIC}:p256:'."
            )
        data = _bytes(encoded)
        key = cls(Curve(curve), data[:-CHECKSUM]) if len(data) > CHECKSUM else None
        if key is None or str(key) != text:
            raise ConfigError("the public key is cut or damaged: its checksum is wrong", hint=_AGAIN)
        return key

    @classmethod
    def of(cls, handle: EllipticCurvePublicKey) -> EcPublicKey:
        """Return the key of the library's object. Raises ConfigError for another curve."""
        for curve, kind in _CURVES.items():
            if isinstance(handle.curve, kind):
                return cls(curve, handle.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        raise ConfigError("the key is on neither P-256 nor P-384", hint="Make one on P-256.")


class EcRecipient(KeyHolder):
    """Seals to the holder of an HSM's private key.

    Args:
        key: the key's label in the token, with which people find it.
        version: its version, the id in the token.
        token: the token's label, as several may have a key of one label.
    """

    __slots__ = ("_seal", "key", "label", "public", "token", "version")

    type = TYPE
    post_quantum = False  # Shor's algorithm solves the discrete logarithm

    def __init__(
        self,
        public: EcPublicKey,
        *,
        key: str,
        version: int,
        label: str = "",
        token: str = "",
        seal: Callable[..., bytes] | None = None,
    ) -> None:
        if not 1 <= version <= MAX_VERSION:
            raise UsageError(f"a key's version must be 1 to {MAX_VERSION}")
        self.public = public
        self.key = key
        self.version = version
        self.label = label or key
        self.token = token
        self._seal = seal or SUITES[public.curve].encrypt

    @property
    def fingerprint(self) -> str:
        return f"{TYPE}:{self.public.id.hex()}"

    def describe(self) -> str:
        where = f" in the token `{self.token}`" if self.token else ""
        return (
            f"the HSM key `{self.key}` v{self.version}{where} ({self.public.curve.words}, not post-quantum)"
        )

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key, each time with an ephemeral key of its own; no HSM is needed."""
        require_key(key, "key to wrap")
        sealed = self._seal(key, self.public.handle(), info=info_of(self.version, context))
        args: dict[str, str | int] = {
            "kem": self.public.curve.kem,
            "key": self.public.id.hex(),
            "sealed": sealed.hex(),
            "version": self.version,
        }
        return Stanza(type=TYPE, label=self.label, args=args)


def info_of(version: int, context: bytes) -> bytes:
    """Return what HPKE binds: the type, the key's version and the context."""
    return INFO + version.to_bytes(2, "big") + context


def open_stanza(
    stanza: Stanza, *, public: EcPublicKey, version: int, context: bytes, agree: Agree
) -> bytes | None:
    """Return the key, or ``None`` if the stanza is for another key or version.

    ``agree`` is called for a stanza of this key only, with a point that lies on the curve: what
    an HSM says of any other (and what it reveals by that) differs from maker to maker.

    Raises:
        Malformed: the stanza breaks the format.
    """
    if stanza.type != TYPE:
        return None
    keywrap.require_args(stanza, _ARGS)
    number, kem = keywrap.int_arg(stanza.args, "version"), keywrap.int_arg(stanza.args, "kem")
    if not 1 <= number <= MAX_VERSION:
        raise Malformed("An HSM key's version is out of bounds.")
    point = {curve.kem: curve.point for curve in Curve}.get(kem)
    if point is None:
        raise Malformed("An HSM key's stanza names no curve that is known.")
    sealed = keywrap.hex_arg(stanza.args, "sealed", point + KEY_SIZE + TAG)
    named = keywrap.hex_arg(stanza.args, "key", _ID)
    enc, wrapped = sealed[:point], sealed[point:]
    if (
        kem != public.curve.kem
        or named != public.id
        or number != version
        or on_curve(public.curve, enc) is None
    ):
        return None
    curve = public.curve
    secret = hpke.shared_secret(
        agree(enc), kem=curve.kem, kem_hash=curve.hash_name, enc=enc, public=public.raw
    )
    return hpke.open_base(secret, wrapped, kem=curve.kem, info=info_of(version, context))


def on_curve(curve: Curve, raw: bytes) -> EllipticCurvePublicKey | None:
    """Return the uncompressed point that the bytes are, if they are one of the curve (RFC 9180 7.1.4)."""
    if len(raw) != curve.point or raw[0] != 4:
        return None
    try:
        return EllipticCurvePublicKey.from_encoded_point(_CURVES[curve](), raw)
    except ValueError:
        return None


_AGAIN = "Copy it again, whole, from where the key pair was made."


def _pem(text: str) -> EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey):
        raise ConfigError("that is not the PEM public key of an elliptic curve", hint=_AGAIN)
    return key


def _bytes(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
