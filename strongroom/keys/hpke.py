"""HPKE (RFC 9180, base mode): the backup host seals with a public key and can never open.

The default KEM is the hybrid of ML-KEM-768 and X25519 (X-Wing): a backup lies in a cloud for
years, and whoever records it now may have a quantum computer then. Plain X25519 is there on
request. One suite for each kind of key and nothing to negotiate: HKDF-SHA-512, AES-256-GCM.
``info`` binds label and context, as RFC 9180 8.1 advises where one message is sealed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from strongroom.container.canonical import unhex
from strongroom.container.derive import KEY_SIZE, require_key
from strongroom.container.stanza import Stanza
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import Opener, keywrap
from strongroom.keys.holder import KeyHolder
from strongroom.keys.keypair import SEED, Kem, PublicKey, private_handle, public_of
from strongroom.keys.prompting import Passphrases, nobody
from strongroom.model import SecretBytes
from strongroom.system import private_file
from strongroom.system.lazy import lazy

if TYPE_CHECKING:
    from strongroom.keys.sealedfile import SealedKeyFile

__all__ = ["KIND", "SUITES", "TYPE", "HpkeIdentity", "HpkeRecipient", "Kem", "PublicKey"]

# Few keys' files are sealed by a passphrase, and all others would pay for importing it.
_READ_SEALED = lazy("strongroom.keys.sealedfile:read")
_WRITE_SEALED = lazy("strongroom.keys.sealedfile:write")
_SEALED_IDENTITY = lazy("strongroom.keys.sealedfile:SealedIdentity")

TYPE = "hpke"
KIND = "strongroom-private-key-1"
INFO = b"strongroom/v1/wrap/hpke/"
SUITES = {
    Kem.XWING: Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA512, AEAD.AES_256_GCM),
    Kem.X25519: Suite(KEM.X25519, KDF.HKDF_SHA512, AEAD.AES_256_GCM),
}
TAG = 16

Seal = Callable[..., bytes]
"""HPKE's single-shot sealing: ``seal(key, handle, info=…)``; a parameter for recorded vectors."""

_ARGS = frozenset({"kem", "key", "sealed"})
_ID = 32
_WORDS = {Kem.XWING: "hybrid post-quantum", Kem.X25519: "X25519, not post-quantum"}


class HpkeRecipient(KeyHolder):
    """Seals to the holder of a private key."""

    __slots__ = ("_seal", "label", "public")

    type = TYPE

    def __init__(self, public: PublicKey, *, label: str = "", seal: Seal | None = None) -> None:
        self.public = public
        self.label = label
        self._seal = seal or SUITES[public.kem].encrypt

    @property
    def post_quantum(self) -> bool:
        return self.public.kem is Kem.XWING

    @property
    def fingerprint(self) -> str:
        return f"{TYPE}:{self.public.id.hex()}"

    def describe(self) -> str:
        name = f"`{self.label}`" if self.label else self.public.id.hex()[:16]
        return f"the holder of the private key {name} ({_WORDS[self.public.kem]})"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key, each time with an ephemeral key of its own."""
        return Stanza(
            type=TYPE, label=self.label, args=seal_args(self._seal, self.public, key, info=INFO + context)
        )


class HpkeIdentity(KeyHolder):
    """Opens with a private key.

    Args:
        seed: the 32-byte private key.
    """

    __slots__ = ("_handle", "_seed", "public")

    def __init__(self, seed: bytes, *, kem: Kem = Kem.XWING) -> None:
        if len(seed) != SEED:
            raise UsageError(f"a private key is {SEED} bytes")
        self._seed = SecretBytes(seed)
        self._handle = private_handle(kem, seed)
        self.public = public_of(kem, seed)

    @classmethod
    def generate(cls, *, kem: Kem = Kem.XWING) -> HpkeIdentity:
        """Make a new private key."""
        return cls(os.urandom(SEED), kem=kem)

    @classmethod
    def load(cls, path: Path, passphrases: Passphrases = nobody) -> HpkeIdentity:
        """Read a private key's file. Raises ConfigError, or as :meth:`Sealed.open`."""
        if not private_file.is_sealed(path):
            return _made(path, *private_file.read_line(path, kind=KIND))
        return _opened(_READ_SEALED(path, kind=KIND), passphrases)

    def save(self, path: Path, *, passphrase: str | None = None) -> None:
        """Write the private key's file, mode 0600, sealed if a passphrase is given; refuse to overwrite
        (UsageError)."""
        kem, seed = self.public.kem.value, self._seed.reveal()
        if passphrase is None:
            private_file.write_line(path, kind=KIND, variety=kem, content=seed)
        else:
            _WRITE_SEALED(path, passphrase, kind=KIND, variety=kem, key=seed, id=self.public.id)

    def describe(self) -> str:
        return f"the private key {self.public.id.hex()[:16]}"

    def recipient(self) -> HpkeRecipient:
        """Return the sealing side."""
        return HpkeRecipient(self.public)

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if another private key opens the stanza.

        A KEM that is not this key's, known or not, is somebody else's.

        Raises:
            Malformed: the stanza breaks the format.
        """
        if stanza.type != TYPE:
            return None
        return self.open_args(stanza, info=INFO + context)

    def open_args(self, stanza: Stanza, *, info: bytes) -> bytes | None:
        """Open what :func:`seal_args` gave, whatever the stanza's type is. As :meth:`unwrap`."""
        keywrap.require_args(stanza, _ARGS)
        key, sealed = keywrap.hex_arg(stanza.args, "key", _ID), keywrap.text_arg(stanza.args, "sealed")
        if keywrap.int_arg(stanza.args, "kem") != self.public.kem.number:
            return None
        size = self.public.kem.enc_size + KEY_SIZE + TAG
        content = unhex(sealed, size, "A stanza's sealed")
        if key != self.public.id:
            return None
        try:
            return SUITES[self.public.kem].decrypt(content, self._handle, info=info)
        except InvalidTag:
            return None


def seal_args(seal: Seal, public: PublicKey, key: bytes, *, info: bytes) -> dict[str, str | int]:
    """Return the arguments of a stanza that is sealed by HPKE; ``info`` names its type."""
    require_key(key, "key to wrap")
    sealed = seal(key, public.handle(), info=info)
    # The id says which key opens a copy, so that those of a leaked one can be looked for.
    return {"kem": public.kem.number, "key": public.id.hex(), "sealed": sealed.hex()}


def load_identity(path: Path, passphrases: Passphrases = nobody) -> Opener:
    """Return what a private key opens with. Raises ConfigError."""
    if not private_file.is_sealed(path):
        return HpkeIdentity.load(path)
    sealed = _READ_SEALED(path, kind=KIND)
    if sealed.variety not in list(Kem) or len(sealed.id) != _ID:
        raise ConfigError(f"'{path}' holds a private key of an unknown kind")
    made: Opener = _SEALED_IDENTITY(sealed, type=TYPE, load=lambda: _opened(sealed, passphrases))
    return made


def _opened(sealed: SealedKeyFile, passphrases: Passphrases) -> HpkeIdentity:
    return _made(sealed.path, sealed.variety, sealed.open(passphrases))


def _made(path: Path, variety: str, seed: bytes) -> HpkeIdentity:
    if variety not in list(Kem) or len(seed) != SEED:
        raise ConfigError(f"'{path}' holds a private key of an unknown kind")
    return HpkeIdentity(seed, kem=Kem(variety))
