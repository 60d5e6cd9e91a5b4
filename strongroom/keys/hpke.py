"""HPKE (RFC 9180, base mode): the backup host seals with a public key and can never open.

The default KEM is the hybrid of ML-KEM-768 and X25519 (X-Wing): a backup lies in a cloud for
years, and whoever records it now may have a quantum computer then. Plain X25519 is there on
request. One suite for each kind of key and nothing to negotiate: HKDF-SHA-512, AES-256-GCM.
``info`` binds label and context, as RFC 9180 8.1 advises where one message is sealed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from msgspec import Struct

from strongroom.container.canonical import unhex
from strongroom.container.cobblestone import KEY_SIZE, require_key
from strongroom.container.wrapping import Stanza
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import Opener, keywrap
from strongroom.keys.passphrase import KeyHolder, Passphrases, nobody
from strongroom.model import SecretBytes
from strongroom.system import files
from strongroom.system.lazy import lazy

if TYPE_CHECKING:
    from strongroom.keys.passphrase import SealedKeyFile


# -- Key pairs for HPKE: their kinds, their bytes and their text --------------------------------
#
# A private key is 32 bytes of either kind. For the hybrid they are the seed of an X-Wing
# decapsulation key (draft-connolly-cfrg-xwing-kem 5.2, which draft-ietf-hpke-pq takes over as
# KEM 0x647a): SHAKE-256 stretches it to the seeds of ML-KEM-768 (FIPS 203) and of X25519.


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
        try:
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except ValueError:
            data = b""
        raw, checksum = data[:-CHECKSUM], data[-CHECKSUM:]
        if hashlib.sha256(raw).digest()[:CHECKSUM] != checksum:
            raise ConfigError("the public key is cut or damaged: its checksum is wrong", hint=_AGAIN)
        key = cls(Kem(kem), raw)
        if str(key) != text.strip():
            raise ConfigError("the public key is damaged: it is not spelt as it was written", hint=_AGAIN)
        return key

    def handle(self) -> PublicHandle:
        """Return the key in the form that encryption takes."""
        if len(self.raw) != self.kem.public_size:
            raise ConfigError(f"the public key is not the {self.kem.public_size} bytes of its kind")
        try:
            curve = X25519PublicKey.from_public_bytes(self.raw[-_CURVE:])
            # With a point of small order the shared secret would be one that everybody knows.
            X25519PrivateKey.generate().exchange(curve)
            if self.kem is Kem.X25519:
                return curve
            return MLKEM768X25519PublicKey(MLKEM768PublicKey.from_public_bytes(self.raw[:_LATTICE]), curve)
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


# -- HPKE (RFC 9180, base mode): the backup host seals with a public key and can never open -----
#
# The default KEM is the hybrid of ML-KEM-768 and X25519 (X-Wing): a backup lies in a cloud for
# years, and whoever records it now may have a quantum computer then. Plain X25519 is there on
# request. One suite for each kind of key and nothing to negotiate: HKDF-SHA-512, AES-256-GCM.
# ``info`` binds label and context, as RFC 9180 8.1 advises where one message is sealed.


# Few keys' files are sealed by a passphrase, and all others would pay for importing it.
_READ_SEALED = lazy("strongroom.keys.passphrase:read")
_WRITE_SEALED = lazy("strongroom.keys.passphrase:write")
_SEALED_IDENTITY = lazy("strongroom.keys.passphrase:SealedIdentity")

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
        if not files.is_sealed(path):
            return _made(path, *files.read_line(path, kind=KIND))
        return _opened(_READ_SEALED(path, kind=KIND), passphrases)

    def save(self, path: Path, *, passphrase: str | None = None) -> None:
        """Write the private key's file, mode 0600, sealed if a passphrase is given; refuse to overwrite
        (UsageError)."""
        kem, seed = self.public.kem.value, self._seed.reveal()
        if passphrase is None:
            files.write_line(path, kind=KIND, variety=kem, content=seed)
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
    if not files.is_sealed(path):
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


# -- The receiving side of HPKE (RFC 9180, base mode) for a Diffie-Hellman done elsewhere -------
#
# An HSM gives the shared point's x-coordinate and nothing else; the rest of Decap (4.1), the
# key schedule (5.1) and the one message (5.2, sequence number 0) are done here.


_KDFS = {1: "sha256", 2: "sha384", 3: "sha512"}
_AES_KEYS = {1: 16, 2: 32}
_SIZES = {"sha256": 32, "sha384": 48, "sha512": 64}
_NONCE = 12


class _Labeled:
    """LabeledExtract and LabeledExpand (RFC 9180 4) over HMAC (RFC 5869)."""

    __slots__ = ("_hash", "_prefix")

    def __init__(self, suite: bytes, hash_name: str) -> None:
        self._prefix = b"HPKE-v1" + suite
        self._hash = hash_name

    def extract(self, salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(_SIZES[self._hash]), self._prefix + label + ikm, self._hash)

    def expand(self, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
        tail = size.to_bytes(2, "big") + self._prefix + label + info
        block = out = b""
        for counter in range(1, -(-size // _SIZES[self._hash]) + 1):
            block = hmac.digest(prk, block + tail + bytes([counter]), self._hash)
            out += block
        return out[:size]


@cache
def _suite(kem: int, kdf: int, aead: int) -> tuple[_Labeled, bytes]:
    """Return a suite's functions, and the hash of the empty PSK id, which is the suite's own."""
    numbers = b"".join(number.to_bytes(2, "big") for number in (kem, kdf, aead))
    labeled = _Labeled(b"HPKE" + numbers, _KDFS[kdf])
    return labeled, labeled.extract(b"", b"psk_id_hash", b"")


def shared_secret(dh: bytes, *, kem: int, kem_hash: str, enc: bytes, public: bytes) -> bytes:
    """Return ExtractAndExpand(dh, enc || public): the end of DHKEM's Decap."""
    labeled = _Labeled(b"KEM" + kem.to_bytes(2, "big"), kem_hash)
    prk = labeled.extract(b"", b"eae_prk", dh)
    return labeled.expand(prk, b"shared_secret", enc + public, _SIZES[kem_hash])


def open_base(
    secret: bytes, sealed: bytes, *, kem: int, info: bytes, kdf: int = 3, aead: int = 2, aad: bytes = b""
) -> bytes | None:
    """Open the first message of a base-mode context; ``None`` if it was not sealed for this one.

    Args:
        secret: the KEM's shared secret.
        kem, kdf, aead: their numbers in IANA's registry; the AEAD is an AES-GCM.
    """
    labeled, no_psk = _suite(kem, kdf, aead)
    context = b"\x00" + no_psk + labeled.extract(b"", b"info_hash", info)
    prk = labeled.extract(secret, b"secret", b"")
    key = labeled.expand(prk, b"key", context, _AES_KEYS[aead])
    nonce = labeled.expand(prk, b"base_nonce", context, _NONCE)
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        return None
