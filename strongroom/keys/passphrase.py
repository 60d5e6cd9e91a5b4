"""Passphrase: whoever knows it can open. scrypt (RFC 7914) with 128 MiB, or PBKDF2 on request.

A backup lies in a cloud for years, and whoever copies it may guess for as long. PBKDF2 costs a guess
only time, of which a graphics card has thousands of strands; scrypt costs it memory, of which it
has not. OWASP's figures of 2026: N = 2^17, r = 8, p = 1 for scrypt, 600,000 rounds for PBKDF2-HMAC-SHA256.
What a stanza may ask of its reader is bounded: less would be guessed, more is a denial of service.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata

from strongroom.container.derive import KEY_SIZE, Random
from strongroom.container.errors import Malformed
from strongroom.container.stanza import ITERATIONS, LOG_N, PBKDF2, SCRYPT, Stanza
from strongroom.errors import UsageError
from strongroom.keys import keywrap
from strongroom.keys.errors import NotDerived
from strongroom.keys.holder import KeyHolder
from strongroom.model import SecretBytes
from strongroom.system.files import one_at_a_time

TYPE = PBKDF2
"""What a recipient that is a passphrase is called, whichever of the two its stanza is."""
DEFAULT_LOG_N = 17
ENOUGH_ITERATIONS = 600_000
"""Fewer rounds than this are worth a remark."""
SALT = 32
_BLOCK = 8  # scrypt's r, in units of 128 bytes
_COSTS = {PBKDF2: ("iterations", ITERATIONS), SCRYPT: ("log_n", LOG_N)}
"""By type of stanza the argument that says what a guess costs, and its bounds."""
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


def scrypt(password: bytes, salt: bytes, log_n: int) -> bytes:
    """Return 32 bytes of scrypt (RFC 7914) with N = 2^log_n, r = 8, p = 1; one at a time on a machine.

    Raises:
        NotDerived: the machine has not the memory, or its OpenSSL no scrypt.
    """
    memory = 128 * _BLOCK << log_n
    try:
        with one_at_a_time():
            return hashlib.scrypt(
                password, salt=salt, n=1 << log_n, r=_BLOCK, p=1, maxmem=memory + (1 << 20), dklen=KEY_SIZE
            )
    except (ValueError, MemoryError, AttributeError):
        raise NotDerived(
            f"A passphrase's key could not be derived: that takes {memory >> 20} MiB of memory, and an "
            "OpenSSL with scrypt."
        ) from None


class _DerivedKeys:
    """Keys derived from one passphrase, each derivation done once."""

    __slots__ = ("_derived", "_passphrase")

    def __init__(self, passphrase: str) -> None:
        self._passphrase = SecretBytes(normalised(passphrase))
        self._derived: dict[tuple[str, bytes, int], SecretBytes] = {}

    def reveal(self) -> str:
        return self._passphrase.reveal().decode()

    def derive(self, type_: str, salt: bytes, cost: int) -> bytes:
        key = self._derived.get((type_, salt, cost))
        if key is None:
            function = scrypt if type_ == SCRYPT else pbkdf2
            key = SecretBytes(function(self._passphrase.reveal(), salt, cost))
            if len(self._derived) >= _KEPT:  # the salts are the files' own, without end
                self._derived.clear()
            self._derived[type_, salt, cost] = key
        return key.reveal()


class PassphraseRecipient(KeyHolder):
    """Seals to a passphrase.

    Args:
        iterations: seal by so many rounds of PBKDF2 instead of by scrypt.
        log_n: the binary logarithm of scrypt's N.
        salt: of the key derivation, 32 bytes; made fresh for each object. All wraps of one
            object share it, so that opening them costs one derivation; each wrap still has
            a salt of its own.

    Raises:
        UsageError: the passphrase is blank or no valid text, or a number is out of bounds.
    """

    __slots__ = ("_cost", "_keys", "_random", "_salt", "_stanza", "label")

    type = TYPE
    # Symmetric throughout: Grover's algorithm makes no guess cheaper in practice, and a weak
    # passphrase is weak against anyone.
    post_quantum = True

    def __init__(
        self,
        passphrase: str,
        *,
        label: str = "",
        iterations: int | None = None,
        log_n: int | None = None,
        salt: bytes | None = None,
        random: Random = os.urandom,
    ) -> None:
        if iterations is not None and iterations not in ITERATIONS:
            raise UsageError(f"{iterations} rounds: must be {ITERATIONS[0]:,} to {ITERATIONS[-1]:,}")
        log_n = DEFAULT_LOG_N if log_n is None else log_n
        if log_n not in LOG_N:
            raise UsageError(f"scrypt's log_n is {log_n}: must be {LOG_N[0]} to {LOG_N[-1]}")
        self._keys = _DerivedKeys(passphrase)
        self._stanza, self._cost = (SCRYPT, log_n) if iterations is None else (PBKDF2, iterations)
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
        """Wrap a 32-byte key; slow the first time. Raises NotDerived."""
        kek = self._keys.derive(self._stanza, self._salt, self._cost)
        args: dict[str, str | int] = {"kdf_salt": self._salt.hex(), _COSTS[self._stanza][0]: self._cost}
        label = _label(self._stanza)
        args |= keywrap.wrap(kek, key, label=label, context=context, random=self._random)
        return Stanza(type=self._stanza, label=self.label, args=args)


class PassphraseIdentity(KeyHolder):
    """Opens with a passphrase; it keeps what it derived, so a run's containers cost one."""

    __slots__ = ("_keys",)

    words = "a passphrase"

    def __init__(self, passphrase: str) -> None:
        self._keys = _DerivedKeys(passphrase)

    def describe(self) -> str:
        return self.words

    def recipient(self) -> PassphraseRecipient:
        """Return the sealing side of the same passphrase."""
        return PassphraseRecipient(self._keys.reveal())

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if another passphrase opens the stanza.

        Raises:
            Malformed: the stanza breaks the format, or asks for work out of bounds.
            NotDerived: this machine cannot do the work.
        """
        if stanza.type not in _COSTS:
            return None
        argument, bounds = _COSTS[stanza.type]
        keywrap.require_args(stanza, frozenset({argument, "kdf_salt", "salt", "wrapped"}))
        cost = keywrap.int_arg(stanza.args, argument)
        if cost not in bounds:
            raise Malformed(f"What a passphrase stanza asks of its reader ({argument}) is out of bounds.")
        kek = self._keys.derive(stanza.type, keywrap.hex_arg(stanza.args, "kdf_salt", SALT), cost)
        return keywrap.unwrap(kek, stanza.args, label=_label(stanza.type), context=context)


def _label(type_: str) -> bytes:
    return b"strongroom/v1/wrap/" + type_.encode() + b"/"


def normalised(passphrase: str) -> bytes:
    """Return one encoding (NFC): the same words typed on another keyboard or system must open."""
    if not passphrase.strip():
        raise UsageError("the passphrase is empty", hint="Give one that cannot be guessed.")
    if any("\ud800" <= character <= "\udfff" for character in passphrase):
        # An environment in another encoding gives these. An encoding error would quote all of it.
        raise UsageError("the passphrase is not valid text", hint="Give it in UTF-8.")
    return unicodedata.normalize("NFC", passphrase).encode()
