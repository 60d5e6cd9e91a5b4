"""Passphrase: whoever knows it can open. PBKDF2-HMAC-SHA256 (RFC 8018), 600,000 rounds.

The rounds are OWASP's figure of 2026 for this function; 100,000 (the procedures document's)
to 10 million are accepted: less would be guessed, more is a denial of service.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata

from strongroom.container.derive import KEY_SIZE, Random
from strongroom.container.stanza import Stanza
from strongroom.errors import Malformed, UsageError
from strongroom.keys import keywrap

TYPE = "passphrase"
ITERATIONS = 600_000
LEAST, MOST = 100_000, 10_000_000
SALT = 32
LABEL = b"strongroom/v1/wrap/passphrase/"
_ARGS = frozenset({"iterations", "kdf_salt", "salt", "wrapped"})


def fingerprint(label: str) -> str:
    """Return the label: anything computed from the passphrase would help to guess it."""
    return f"{TYPE}:{label}"


def describe(label: str) -> str:
    """Say in words who can open."""
    return f"whoever knows the passphrase `{label}`" if label else "whoever knows the passphrase"


class _Keys:
    """Keys derived from one passphrase, each derivation done once."""

    def __init__(self, passphrase: str) -> None:
        # NFC: the same words typed on another keyboard or system must open.
        self._passphrase = unicodedata.normalize("NFC", passphrase).encode()
        if not self._passphrase:
            raise UsageError("the passphrase is empty", hint="Give one that cannot be guessed.")
        self._derived: dict[tuple[bytes, int], bytes] = {}

    def derive(self, salt: bytes, iterations: int) -> bytes:
        if (salt, iterations) not in self._derived:
            self._derived[salt, iterations] = hashlib.pbkdf2_hmac(
                "sha256", self._passphrase, salt, iterations, KEY_SIZE
            )
        return self._derived[salt, iterations]


class PassphraseRecipient:
    """Seals for whoever knows a passphrase.

    Args:
        salt: of the key derivation, 32 bytes; made fresh for each object. All wraps of one
            object share it, so that opening them costs one derivation; each wrap still has
            a salt of its own.
    """

    type = TYPE
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

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.label)

    def describe(self) -> str:
        return (
            f"whoever knows the passphrase `{self.label}`" if self.label else "whoever knows the passphrase"
        )

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        kek = self._keys.derive(self._salt, self._iterations)
        args: dict[str, str | int] = {"iterations": self._iterations, "kdf_salt": self._salt.hex()}
        args |= keywrap.wrap(kek, key, label=LABEL, context=context, random=self._random)
        return Stanza(type=TYPE, label=self.label, args=args)

    def __repr__(self) -> str:
        return f"PassphraseRecipient({self.label!r})"


class PassphraseIdentity:
    """Opens with a passphrase."""

    def __init__(self, passphrase: str) -> None:
        self._passphrase = passphrase
        self._keys = _Keys(passphrase)

    def describe(self) -> str:
        return "a passphrase"

    def recipient(self) -> PassphraseRecipient:
        """Return the sealing side of the same passphrase."""
        return PassphraseRecipient(self._passphrase)

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        if stanza.type != TYPE:
            return None
        keywrap.require_args(stanza, _ARGS)
        iterations = stanza.args["iterations"]
        if not isinstance(iterations, int) or not LEAST <= iterations <= MOST:
            raise Malformed("A passphrase stanza's rounds are out of bounds.")
        kek = self._keys.derive(keywrap.hex_arg(stanza.args, "kdf_salt", SALT), iterations)
        return keywrap.unwrap(kek, stanza.args, label=LABEL, context=context)

    def __repr__(self) -> str:
        return "PassphraseIdentity(redacted)"
