"""Key pairs for HPKE: their kinds, their bytes and their text.

A private key is 32 bytes of either kind. For the hybrid they are the seed of an X-Wing
decapsulation key (draft-connolly-cfrg-xwing-kem 5.2, which draft-ietf-hpke-pq takes over as
KEM 0x647a): SHAKE-256 stretches it to the seeds of ML-KEM-768 (FIPS 203) and of X25519.
"""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey
from msgspec import Struct

from strongroom.errors import ConfigError

PUBLIC = "srpub1"
SEED = 32
CHECKSUM = 4
_LATTICE = 1184
_LATTICE_SEED = 64
_CURVE = 32

PublicHandle = X25519PublicKey | MLKEM768X25519PublicKey
PrivateHandle = X25519PrivateKey | MLKEM768X25519PrivateKey


class Kem(StrEnum):
    """How the shared secret is made."""

    XWING = "mlkem768-x25519"
    X25519 = "x25519"

    @property
    def number(self) -> int:
        """The KEM's number in IANA's registry of HPKE."""
        return 0x647A if self is Kem.XWING else 0x0020

    @property
    def public_size(self) -> int:
        """Bytes of a public key; the hybrid's are ML-KEM's, then X25519's."""
        return _LATTICE + _CURVE if self is Kem.XWING else _CURVE

    @property
    def enc_size(self) -> int:
        """Bytes of an encapsulated key."""
        return 1088 + _CURVE if self is Kem.XWING else _CURVE


class PublicKey(Struct, frozen=True):
    """The half that seals. Anyone may see it, and it must come from the right one.

    Raises:
        ConfigError: the bytes are no public key of that kind.
    """

    kem: Kem
    raw: bytes

    def __post_init__(self) -> None:
        self.handle()

    @property
    def id(self) -> bytes:
        """SHA-256 of the raw bytes."""
        return hashlib.sha256(self.raw).digest()

    def __str__(self) -> str:
        """One line of text, ending in a checksum: ``srpub1:KEM:base64url``."""
        data = self.raw + hashlib.sha256(self.raw).digest()[:CHECKSUM]
        return f"{PUBLIC}:{self.kem}:{base64.urlsafe_b64encode(data).decode().rstrip('=')}"

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read what ``str`` gave; white space round it is let pass.

        Raises:
            ConfigError: it is something else, damaged, or no key that can be used.
        """
        prefix, _, rest = text.strip().partition(":")
        kem, _, encoded = rest.partition(":")
        if prefix != PUBLIC:
            raise ConfigError("that is not a public key", hint=f"It begins with '{PUBLIC}:'.")
        if kem not in list(Kem):
            raise ConfigError("the public key is of a kind that is not known here", hint=_AGAIN)
        key = cls(Kem(kem), _checked(encoded))
        if str(key) != text.strip():
            raise ConfigError("the public key is damaged: it is not spelt as it was written", hint=_AGAIN)
        return key

    def handle(self) -> PublicHandle:
        """Return the key in the form that encryption takes."""
        if len(self.raw) != self.kem.public_size:
            raise ConfigError(f"the public key is not the {self.kem.public_size} bytes of its kind")
        try:
            return _public_handle(self.kem, self.raw)
        except ValueError:
            raise ConfigError("the public key cannot be used", hint=_AGAIN) from None


def private_handle(kem: Kem, seed: bytes) -> PrivateHandle:
    """Return the key pair of a 32-byte seed in the form that decryption takes."""
    lattice, curve = _halves(kem, seed)
    return curve if lattice is None else MLKEM768X25519PrivateKey(lattice, curve)


def public_of(kem: Kem, seed: bytes) -> PublicKey:
    """Return the public half of a 32-byte seed."""
    lattice, curve = _halves(kem, seed)
    raw = curve.public_key().public_bytes_raw()
    return PublicKey(kem, raw if lattice is None else lattice.public_key().public_bytes_raw() + raw)


_AGAIN = "Copy it again, whole, from where the key pair was made."


def _halves(kem: Kem, seed: bytes) -> tuple[MLKEM768PrivateKey | None, X25519PrivateKey]:
    if kem is Kem.X25519:
        return None, X25519PrivateKey.from_private_bytes(seed)
    stretched = hashlib.shake_256(seed).digest(_LATTICE_SEED + _CURVE)
    lattice = MLKEM768PrivateKey.from_seed_bytes(stretched[:_LATTICE_SEED])
    return lattice, X25519PrivateKey.from_private_bytes(stretched[_LATTICE_SEED:])


def _public_handle(kem: Kem, raw: bytes) -> PublicHandle:
    curve = X25519PublicKey.from_public_bytes(raw[-_CURVE:])
    # With a point of small order the shared secret would be one that everybody knows.
    X25519PrivateKey.generate().exchange(curve)
    if kem is Kem.X25519:
        return curve
    return MLKEM768X25519PublicKey(MLKEM768PublicKey.from_public_bytes(raw[:_LATTICE]), curve)


def _checked(encoded: str) -> bytes:
    try:
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    raw, checksum = data[:-CHECKSUM], data[-CHECKSUM:]
    if hashlib.sha256(raw).digest()[:CHECKSUM] != checksum:
        raise ConfigError("the public key is cut or damaged: its checksum is wrong", hint=_AGAIN)
    return raw
