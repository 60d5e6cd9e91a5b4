"""Files that open: a key file of 256 random bits, or a private key, each under a passphrase if wanted."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.container.cobblestone import KEY_SIZE, Random, hkdf, require_key
from strongroom.container.wrapping import Stanza
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import Opener, keywrap
from strongroom.keys.passphrase import KeyHolder, Passphrases, nobody
from strongroom.model import SecretBytes
from strongroom.system import files
from strongroom.system.lazy import lazy

if TYPE_CHECKING:
    from strongroom.keys.passphrase import SealedKeyFile

# Few keys' files are sealed by a passphrase, and all others would pay for importing it.
_READ_SEALED = lazy("strongroom.keys.passphrase:read")
_WRITE_SEALED = lazy("strongroom.keys.passphrase:write")
_SEALED_IDENTITY = lazy("strongroom.keys.passphrase:SealedIdentity")

TYPE = "keyfile"
KIND = "strongroom-key-1"
ALGORITHM = "AES256"
LABEL = b"strongroom/v1/wrap/keyfile/"
_FINGERPRINT = b"strongroom/v1/keyfile-fingerprint"
_ARGS = frozenset({"key", "salt", "wrapped"})
_ID = 16


def generate_key_file(path: Path, algorithm: str = ALGORITHM, *, passphrase: str | None = None) -> None:
    """Make a key file, mode 0600, durable; refuse to overwrite.

    Args:
        passphrase: seals the file.

    Raises:
        UsageError: the file exists or cannot be written, or the algorithm is not ``AES256``.
    """
    if algorithm != ALGORITHM:
        raise UsageError(f"unknown algorithm '{algorithm}'", hint=f"The one there is: {ALGORITHM}.")
    # Write a key file, as :func:`generate_key_file` does.
    key = os.urandom(KEY_SIZE)
    if passphrase is None:
        files.write_line(path, kind=KIND, variety=ALGORITHM, content=key)
    else:
        _WRITE_SEALED(path, passphrase, kind=KIND, variety=ALGORITHM, key=key, id=_key_id(key))


def load_key_file(path: Path) -> bytes:
    """Return the 32 bytes of a key file. Raises ConfigError, or as :meth:`Sealed.open`."""
    if not files.is_sealed(path):
        return _checked(path, *files.read_line(path, kind=KIND))
    return _opened(_READ_SEALED(path, kind=KIND), nobody)


def _opened(sealed: SealedKeyFile, passphrases: Passphrases) -> bytes:
    return _checked(sealed.path, sealed.variety, sealed.open(passphrases))


def _checked(path: Path, variety: str, key: bytes) -> bytes:
    if variety != ALGORITHM or len(key) != KEY_SIZE:
        raise ConfigError(f"'{path}' holds a key of an unknown kind")
    return key


def _key_id(key: bytes) -> bytes:
    """Return a public name of a key; one-way, and of 256 random bits, so not guessable."""
    require_key(key, "key of a key file")
    return hkdf(key, salt=b"", info=_FINGERPRINT)[:_ID]


class KeyFileRecipient(KeyHolder):
    """Seals to a key file."""

    __slots__ = ("_id", "_key", "_random", "label")

    type = TYPE
    post_quantum = True  # of a 256-bit key, Grover's algorithm leaves 128

    def __init__(self, key: bytes, *, label: str = "", random: Random = os.urandom) -> None:
        self._id = _key_id(key).hex()
        self._key = SecretBytes(key)
        self._random = random
        self.label = label

    @classmethod
    def load(cls, path: Path, *, label: str = "", passphrases: Passphrases = nobody) -> KeyFileRecipient:
        """Return the recipient of a key file. Of a sealed one the key is asked for once something is sealed.

        Raises:
            ConfigError: it is no key file.
        """
        if not files.is_sealed(path):
            return cls(load_key_file(path), label=label)
        return _SealedRecipient(_READ_SEALED(path, kind=KIND), label=label, passphrases=passphrases)

    @property
    def fingerprint(self) -> str:
        return f"{TYPE}:{self._id}"

    def describe(self) -> str:
        return f"anyone with the key file {f'`{self.label}`' if self.label else self._id}"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        # The id says which key opens a copy, so that those of a leaked one can be looked for.
        args: dict[str, str | int] = {"key": self._id}
        args |= keywrap.wrap(self._reveal(), key, label=LABEL, context=context, random=self._random)
        return Stanza(type=TYPE, label=self.label, args=args)

    def _reveal(self) -> bytes:
        return self._key.reveal()


class _SealedRecipient(KeyFileRecipient):
    """Seals to a key file that a passphrase seals."""

    __slots__ = ("_open",)

    def __init__(self, sealed: SealedKeyFile, *, label: str, passphrases: Passphrases) -> None:
        self._id, self._random, self.label = _sealed_id(sealed), os.urandom, label
        self._open = cache(lambda: SecretBytes(_opened(sealed, passphrases)))

    def _reveal(self) -> bytes:
        return self._open().reveal()


class KeyFileIdentity(KeyHolder):
    """Opens with a key file."""

    __slots__ = ("_id", "_key")

    def __init__(self, key: bytes) -> None:
        self._id = _key_id(key)
        self._key = SecretBytes(key)

    def describe(self) -> str:
        return f"the key file {self._id.hex()}"

    def recipient(self) -> KeyFileRecipient:
        """Return the sealing side of the same key."""
        return KeyFileRecipient(self._key.reveal())

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if another key file opens the stanza.

        Raises:
            Malformed: the stanza breaks the format.
        """
        if stanza.type != TYPE:
            return None
        keywrap.require_args(stanza, _ARGS)
        if keywrap.hex_arg(stanza.args, "key", _ID) != self._id:
            return None
        return keywrap.unwrap(self._key.reveal(), stanza.args, label=LABEL, context=context)


def load_identity(path: Path, passphrases: Passphrases = nobody) -> Opener:
    """Return what a key file opens with. Raises ConfigError."""
    if not files.is_sealed(path):
        return KeyFileIdentity(load_key_file(path))
    sealed = _READ_SEALED(path, kind=KIND)
    _sealed_id(sealed)
    made: Opener = _SEALED_IDENTITY(
        sealed, type=TYPE, load=lambda: KeyFileIdentity(_opened(sealed, passphrases))
    )
    return made


def _sealed_id(sealed: SealedKeyFile) -> str:
    if sealed.variety != ALGORITHM or len(sealed.id) != _ID:
        raise ConfigError(f"'{sealed.path}' holds a key of an unknown kind")
    return sealed.id.hex()
