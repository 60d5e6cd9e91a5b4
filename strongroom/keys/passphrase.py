"""Passphrase: whoever knows it can open. scrypt (RFC 7914) with 128 MiB, or PBKDF2 on request.

A backup lies in a cloud for years, and whoever copies it may guess for as long. PBKDF2 costs a guess
only time, of which a graphics card has thousands of strands; scrypt costs it memory, of which it
has not. OWASP's figures of 2026: N = 2^17, r = 8, p = 1 for scrypt, 600,000 rounds for PBKDF2-HMAC-SHA256.
What a stanza may ask of its reader is bounded: less would be guessed, more is a denial of service.
"""

from __future__ import annotations

import hashlib
import os
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from strongroom.container.cobblestone import KEY_SIZE, Random
from strongroom.container.errors import Malformed
from strongroom.container.wrapping import ITERATIONS, LOG_N, PBKDF2, SCRYPT, Stanza
from strongroom.errors import UsageError
from strongroom.keys import Opener, Recipient, keywrap
from strongroom.keys.errors import NotDerived, PassphraseNeeded, WrongPassphrase
from strongroom.model import SecretBytes
from strongroom.system import files
from strongroom.system.errors import KeyFileUnreadable
from strongroom.system.files import one_at_a_time

# -- What every object that holds a key has in common: it shows itself in words, never in bytes ---


class KeyHolder:
    """Base of recipients and identities. Neither ``repr`` nor pickle shows the key."""

    __slots__ = ()

    def describe(self) -> str:
        """Say in words what this is."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an object that holds a key must not be pickled")


# -- Passphrase: whoever knows it can open. scrypt (RFC 7914) with 128 MiB, or PBKDF2 on request ---
#
# A backup lies in a cloud for years, and whoever copies it may guess for as long. PBKDF2 costs a guess
# only time, of which a graphics card has thousands of strands; scrypt costs it memory, of which it
# has not. OWASP's figures of 2026: N = 2^17, r = 8, p = 1 for scrypt, 600,000 rounds for PBKDF2-HMAC-SHA256.
# What a stanza may ask of its reader is bounded: less would be guessed, more is a denial of service.


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


# -- Who is asked for a PIN or a passphrase, and where nobody may be: of several processes at one terminal,
# only one may ask


Passphrases = Callable[[Path], Iterable[str]]
"""Gives the passphrases to try on a key's file: what was given, then what a person types when it is asked."""


def nobody(path: Path) -> Iterable[str]:
    """Give no passphrase: nobody is there."""
    return ()


_unasked: ContextVar[bool] = ContextVar("unasked", default=False)


@contextmanager
def unasked() -> Iterator[None]:
    """Ask nobody in this block. What cannot do without raises, and is left to who may ask."""
    token = _unasked.set(True)
    try:
        yield
    finally:
        _unasked.reset(token)


def may_ask() -> bool:
    """Tell whether a person may be asked here."""
    return not _unasked.get()


# -- A file that holds a key, sealed by a passphrase: whoever copies the file alone opens nothing ---
#
# One line as of any key's file, whose content is what scrypt and AES-256-GCM make of the key, as in a stanza
# of type ``scrypt``. The key's public id stands in it, so nobody is asked for a passphrase before something
# is there that the key opens.


BY_PASSPHRASE = "sealed by a passphrase"  # noqa: S105 - words
"""The end of what a sealed key is called."""
_LABEL = b"strongroom/v1/sealed-key/"
_TAIL = SALT + keywrap.SALT + keywrap.WRAPPED


class SealedKeyFile(Struct, frozen=True, kw_only=True):
    """What a sealed file says.

    Args:
        kind: of the file, were it not sealed.
        variety: of the key.
        id: the key's public id, as its stanzas have it.
    """

    path: Path
    kind: str
    variety: str
    id: bytes
    log_n: int
    kdf_salt: bytes
    args: dict[str, str]

    def open(self, passphrases: Passphrases) -> bytes:
        """Return the key.

        Raises:
            WrongPassphrase: none that was given or typed opens it.
            PassphraseNeeded: there is none, and nobody to ask.
            NotDerived: this machine cannot do the work.
        """
        tried = False
        for words in passphrases(self.path):
            tried = True
            if (key := self._try(words)) is not None:
                return key
        if tried:
            raise WrongPassphrase(f"The passphrase does not open the key in '{self.path}'.")
        raise PassphraseNeeded(f"The key in '{self.path}' is sealed by a passphrase, and none is given here.")

    def _try(self, words: str) -> bytes | None:
        kek = scrypt(normalised(words), self.kdf_salt, self.log_n)
        return keywrap.unwrap(
            kek, self.args, label=_LABEL, context=_context(self.kind, self.variety, self.id)
        )


def write(path: Path, words: str, *, kind: str, variety: str, key: bytes, id: bytes) -> None:  # noqa: A002
    """Write a key's file that this passphrase opens. Raises UsageError, NotDerived."""
    content = seal(words, kind=kind, variety=variety, key=key, id=id)
    files.write_line(path, kind=sealed_kind(kind), variety=variety, content=content)


def seal(
    words: str,
    *,
    kind: str,
    variety: str,
    key: bytes,
    id: bytes,  # noqa: A002
    log_n: int | None = None,
    random: Random = os.urandom,
) -> bytes:
    """Return the content of a key's file that this passphrase opens."""
    log_n = DEFAULT_LOG_N if log_n is None else log_n
    salt = random(SALT)
    kek = scrypt(normalised(words), salt, log_n)
    wrapped = keywrap.wrap(kek, key, label=_LABEL, context=_context(kind, variety, id), random=random)
    return bytes([log_n]) + id + salt + bytes.fromhex(wrapped["salt"] + wrapped["wrapped"])


def sealed_kind(kind: str) -> str:
    """Return what a kind of file is called when it is sealed."""
    return kind.replace("strongroom-", files.SEALED, 1)


def read(path: Path, *, kind: str) -> SealedKeyFile:
    """Return what the sealed file of a kind of key says.

    Raises:
        KeyFileUnreadable, KeyFileExposed: it is damaged, or open to others.
    """
    variety, content = files.read_line(path, kind=sealed_kind(kind))
    if len(content) <= 1 + _TAIL or content[0] not in LOG_N:
        raise KeyFileUnreadable(f"'{path}' holds a sealed key of an unknown kind")
    own, tail = content[1:-_TAIL], content[-_TAIL:]
    salt, wrapped = tail[SALT : -keywrap.WRAPPED], tail[-keywrap.WRAPPED :]
    return SealedKeyFile(
        path=path,
        kind=kind,
        variety=variety,
        id=own,
        log_n=content[0],
        kdf_salt=tail[:SALT],
        args={"salt": salt.hex(), "wrapped": wrapped.hex()},
    )


class SealedIdentity(KeyHolder):
    """Opens with a sealed key, for which it asks once a stanza is there that is for it.

    Args:
        type: of its stanzas.
        load: opens it, and makes of the key what opens.
    """

    __slots__ = ("_alone", "_failed", "_load", "_opened", "_sealed", "_type")

    def __init__(
        self,
        sealed: SealedKeyFile,
        *,
        type: str,  # noqa: A002 - what stanzas call it
        load: Callable[[], Opener],
    ) -> None:
        self._sealed = sealed
        self._type = type
        self._load = load
        self._alone = threading.Lock()
        self._opened: Opener | None = None
        self._failed: Exception | None = None

    @property
    def answered(self) -> bool:
        """Whether its passphrase was given: from then on it asks nobody."""
        return self._opened is not None

    def describe(self) -> str:
        return f"the key {self._sealed.id.hex()[:16]} in '{self._sealed.path}', {BY_PASSPHRASE}"

    def recipient(self) -> Recipient:
        """Return the sealing side. Raises as :meth:`Sealed.open`."""
        return self._open().recipient()

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if another opens the stanza. Raises as :meth:`Sealed.open`, too."""
        if stanza.type != self._type or stanza.args.get("key") != self._sealed.id.hex():
            return None
        return self._open().unwrap(stanza, context=context)

    def _open(self) -> Opener:
        if self._opened is not None:
            return self._opened
        with self._alone:  # several replicas are read at once, and a person is asked once
            if self._failed is not None:
                raise self._failed
            if self._opened is None:
                self._opened = self._asked()
            return self._opened

    def _asked(self) -> Opener:
        try:
            return self._load()
        except (WrongPassphrase, PassphraseNeeded) as error:
            self._failed = error
            raise


def _context(kind: str, variety: str, own: bytes) -> bytes:
    return f"{kind} {variety} ".encode() + own
