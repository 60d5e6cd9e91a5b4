"""Passphrase: whoever knows it can open. PBKDF2-HMAC-SHA256 (RFC 8018), 600,000 rounds.

The rounds are OWASP's figure of 2026 for this function; 100,000 (the procedures document's)
to 10 million are accepted: less would be guessed, more is a denial of service.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata

from strongroom.container.derive import KEY_SIZE, Random
from strongroom.container.errors import Malformed
from strongroom.container.stanza import Stanza
from strongroom.errors import UsageError
from strongroom.keys import keywrap
from strongroom.keys.holder import KeyHolder
from strongroom.model import SecretBytes

TYPE = "passphrase"
ITERATIONS = 600_000
LEAST, MOST = 100_000, 10_000_000
SALT = 32
LABEL = b"strongroom/v1/wrap/passphrase/"
# NIST SP 800-63B-4 3.1.1: what a password must have where nothing else protects.
_ARGS = frozenset({"iterations", "kdf_salt", "salt", "wrapped"})
_KEPT = 64


def fingerprint(label: str) -> str:
    """Return the label: anything computed from the passphrase would help to guess it."""
    return f"{TYPE}:{label}"


def describe(label: str) -> str:
    """Say in words who can open."""
    return f"anyone who knows the passphrase `{label}`" if label else "anyone who knows the passphrase"


def pbkdf2(password: bytes, salt: bytes, iterations: int, size: int = KEY_SIZE) -> bytes:
    """Return ``size`` bytes of PBKDF2-HMAC-SHA256 (RFC 8018 5.2)."""
    return hashlib.pbkdf2_hmac("sha256", password, salt, iterations, size)


class _Keys:
    """Keys derived from one passphrase, each derivation done once."""

    __slots__ = ("_derived", "_passphrase")

    def __init__(self, passphrase: str) -> None:
        self._passphrase = SecretBytes(_normalised(passphrase))
        self._derived: dict[tuple[bytes, int], SecretBytes] = {}

    def reveal(self) -> str:
        return self._passphrase.reveal().decode()

    def derive(self, salt: bytes, iterations: int) -> bytes:
        key = self._derived.get((salt, iterations))
        if key is None:
            key = SecretBytes(pbkdf2(self._passphrase.reveal(), salt, iterations))
            if len(self._derived) >= _KEPT:  # the salts are the files' own, without end
                self._derived.clear()
            self._derived[salt, iterations] = key
        return key.reveal()


class PassphraseRecipient(KeyHolder):
    """Seals to a passphrase.

    Args:
        salt: of the key derivation, 32 bytes; made fresh for each object. All wraps of one
            object share it, so that opening them costs one derivation; each wrap still has
            a salt of its own.

    Raises:
        UsageError: the passphrase is blank or no valid text, or a number is out of bounds.
    """

    __slots__ = ("_iterations", "_keys", "_random", "_salt", "label")

    type = TYPE
    # Symmetric throughout: Grover's algorithm makes no guess cheaper in practice, and a weak
    # passphrase is weak against anyone.
    post_quantum = True

    def __init__(
        self,
        passphrase: str,
        *,
        label: str = "",
        iterations: int = ITERATIONS,
        salt: bytes | None = None,
        random: Random = os.urandom,
    ) -> None:
        if not LEAST <= iterations <= MOST:
            raise UsageError(f"{iterations} rounds: must be {LEAST:,} to {MOST:,}")
        self._keys = _Keys(passphrase)
        self._iterations = iterations
        self._random = random
        self._salt = random(SALT) if salt is None else salt
        self.label = label
        if len(self._salt) != SALT:
            raise UsageError(f"a passphrase's salt must be {SALT} bytes")

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.label)

    def describe(self) -> str:
        return describe(self.label)

    def identity(self) -> PassphraseIdentity:
        """Return the opening side of the same passphrase."""
        return PassphraseIdentity(self._keys.reveal())

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key; slow the first time."""
        kek = self._keys.derive(self._salt, self._iterations)
        args: dict[str, str | int] = {"iterations": self._iterations, "kdf_salt": self._salt.hex()}
        args |= keywrap.wrap(kek, key, label=LABEL, context=context, random=self._random)
        return Stanza(type=TYPE, label=self.label, args=args)


class PassphraseIdentity(KeyHolder):
    """Opens with a passphrase; it keeps what it derived, so a run's containers cost one."""

    __slots__ = ("_keys",)

    def __init__(self, passphrase: str) -> None:
        self._keys = _Keys(passphrase)

    def describe(self) -> str:
        return "a passphrase"

    def recipient(self) -> PassphraseRecipient:
        """Return the sealing side of the same passphrase."""
        return PassphraseRecipient(self._keys.reveal())

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if another passphrase opens the stanza.

        Raises:
            Malformed: the stanza breaks the format, or asks for rounds out of bounds.
        """
        if stanza.type != TYPE:
            return None
        keywrap.require_args(stanza, _ARGS)
        iterations = keywrap.int_arg(stanza.args, "iterations")
        if not LEAST <= iterations <= MOST:
            raise Malformed("A passphrase stanza's rounds are out of bounds.")
        kek = self._keys.derive(keywrap.hex_arg(stanza.args, "kdf_salt", SALT), iterations)
        return keywrap.unwrap(kek, stanza.args, label=LABEL, context=context)


def _normalised(passphrase: str) -> bytes:
    """Return one encoding (NFC): the same words typed on another keyboard or system must open."""
    if not passphrase.strip():
        raise UsageError("the passphrase is empty", hint="Give one that cannot be guessed.")
    if any("\ud800" <= character <= "\udfff" for character in passphrase):
        # An environment in another encoding gives these. An encoding error would quote all of it.
        raise UsageError("the passphrase is not valid text", hint="Give it in UTF-8.")
    return unicodedata.normalize("NFC", passphrase).encode()
