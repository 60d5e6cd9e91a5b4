"""HPKE (RFC 9180, base mode): the backup host seals with a public key and can never open.

The default KEM is the hybrid of ML-KEM-768 and X25519 (X-Wing, draft-connolly-cfrg-xwing-kem):
a backup lies in a cloud for years, and whoever records it now may have a quantum computer
then. Plain X25519 is there on request. Either private key is a 32-byte seed; X-Wing's is
expanded by SHAKE-256 as its section 5.2 says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from msgspec import Struct

from strongroom.container.derive import KEY_SIZE, require_key
from strongroom.container.stanza import Stanza
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import keywrap, privatefile

TYPE = "hpke"
KIND = "strongroom-private-key-1"
PUBLIC = "srpub1"
INFO = b"strongroom/v1/wrap/hpke/"
SEED = 32
TAG = 16
_ARGS = frozenset({"kem", "key", "sealed"})
_ID = 32


class Kem(StrEnum):
    """How the shared secret is made."""

    XWING = "mlkem768-x25519"
    X25519 = "x25519"


class _Sizes(Struct, frozen=True):
    public: int
    enc: int


_SIZES = {Kem.XWING: _Sizes(1184 + 32, 1088 + 32), Kem.X25519: _Sizes(32, 32)}


@cache
def _suite(kem: Kem) -> Any:
    from cryptography.hazmat.primitives import hpke  # noqa: PLC0415 - not needed to open with a key file

    chosen = {Kem.XWING: hpke.KEM.MLKEM768_X25519, Kem.X25519: hpke.KEM.X25519}[kem]
    return hpke.Suite(chosen, hpke.KDF.HKDF_SHA512, hpke.AEAD.AES_256_GCM)


def _private_key(kem: Kem, seed: bytes) -> Any:
    if kem is Kem.X25519:
        return X25519PrivateKey.from_private_bytes(seed)
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey  # noqa: PLC0415

    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])
    )


def _public_bytes(kem: Kem, seed: bytes) -> bytes:
    if kem is Kem.X25519:
        return X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey  # noqa: PLC0415

    expanded = hashlib.shake_256(seed).digest(96)
    lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]).public_key().public_bytes_raw()
    return lattice + X25519PrivateKey.from_private_bytes(expanded[64:]).public_key().public_bytes_raw()


def _public_key(kem: Kem, raw: bytes) -> Any:
    if kem is Kem.X25519:
        return X25519PublicKey.from_public_bytes(raw)
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.hpke import MLKEM768X25519PublicKey  # noqa: PLC0415

    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:1184]), X25519PublicKey.from_public_bytes(raw[1184:])
    )


class PublicKey(Struct, frozen=True):
    """A public key: its KEM and raw bytes (X25519 32; hybrid 1,216: ML-KEM's, then X25519's)."""

    kem: Kem
    raw: bytes

    @property
    def id(self) -> bytes:
        """SHA-256 of the KEM's name and the key."""
        return hashlib.sha256(self.kem.encode() + b"\x00" + self.raw).digest()

    def __str__(self) -> str:
        """One line of text, ending in a checksum: ``srpub1:KEM:base64url``."""
        data = self.raw + hashlib.sha256(self.raw).digest()[:4]
        return f"{PUBLIC}:{self.kem}:{base64.urlsafe_b64encode(data).decode().rstrip('=')}"

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read what ``str`` gave. Raises ConfigError."""
        try:
            prefix, kem, encoded = text.strip().split(":")
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
            key = cls(Kem(kem), data[:-4])
        except (ValueError, binascii.Error):
            raise ConfigError("that is not a public key", hint=f"It begins with '{PUBLIC}:'.") from None
        if prefix != PUBLIC or str(key) != text.strip() or len(key.raw) != _SIZES[key.kem].public:
            raise ConfigError(
                "the public key is damaged: its checksum is wrong", hint="Copy it again, whole."
            )
        return key


class HpkeRecipient:
    """Seals for the holder of a private key."""

    type = TYPE

    def __init__(
        self, public: PublicKey, *, label: str = "", seal: Callable[..., bytes] | None = None
    ) -> None:
        self.public = public
        self.label = label
        self._seal = seal

    @property
    def post_quantum(self) -> bool:
        return self.public.kem is Kem.XWING

    @property
    def fingerprint(self) -> str:
        return f"hpke:{self.public.id.hex()}"

    def describe(self) -> str:
        name = f"`{self.label}`" if self.label else self.public.id.hex()[:16]
        return f"the holder of the private key {name}"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        require_key(key, "key to wrap")
        seal = self._seal or _suite(self.public.kem).encrypt
        sealed = seal(key, _public_key(self.public.kem, self.public.raw), info=INFO + context)
        args: dict[str, str | int] = {
            "kem": self.public.kem.value,
            "key": self.public.id.hex(),
            "sealed": sealed.hex(),
        }
        return Stanza(type=TYPE, label=self.label, args=args)

    def __repr__(self) -> str:
        return f"HpkeRecipient({self.public.id.hex()[:16]})"


class HpkeIdentity:
    """Opens with a private key.

    Args:
        seed: the 32-byte private key.
    """

    def __init__(self, seed: bytes, *, kem: Kem = Kem.XWING) -> None:
        if len(seed) != SEED:
            raise UsageError(f"a private key is {SEED} bytes")
        self._seed = seed
        self.public = PublicKey(kem, _public_bytes(kem, seed))

    @classmethod
    def generate(cls, *, kem: Kem = Kem.XWING) -> HpkeIdentity:
        """Make a new private key."""
        return cls(os.urandom(SEED), kem=kem)

    @classmethod
    def load(cls, path: Path) -> HpkeIdentity:
        """Read a private key's file. Raises ConfigError."""
        variety, seed = privatefile.read_line(path, kind=KIND)
        if variety not in list(Kem) or len(seed) != SEED:
            raise ConfigError(f"'{path}' holds a private key of an unknown kind")
        return cls(seed, kem=Kem(variety))

    def save(self, path: Path) -> None:
        """Write the private key's file, mode 0600; refuse to overwrite."""
        privatefile.write_line(path, kind=KIND, variety=self.public.kem.value, content=self._seed)

    def describe(self) -> str:
        return f"the private key {self.public.id.hex()[:16]}"

    def recipient(self) -> HpkeRecipient:
        """Return the sealing side."""
        return HpkeRecipient(self.public)

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        if stanza.type != TYPE:
            return None
        keywrap.require_args(stanza, _ARGS)
        if stanza.args["kem"] != self.public.kem.value:
            return None
        if keywrap.hex_arg(stanza.args, "key", _ID) != self.public.id:
            return None
        sealed = keywrap.hex_arg(stanza.args, "sealed", _SIZES[self.public.kem].enc + KEY_SIZE + TAG)
        try:
            opened: bytes = _suite(self.public.kem).decrypt(
                sealed, _private_key(self.public.kem, self._seed), info=INFO + context
            )
        except InvalidTag:
            return None
        return opened

    def __repr__(self) -> str:
        return f"HpkeIdentity({self.public.id.hex()[:16]})"

    def __reduce__(self) -> str:
        raise TypeError("a private key must not be pickled")
