"""Key file: 256 random bits in a file. Whoever has it can seal and open."""

from __future__ import annotations

import os
from pathlib import Path

from strongroom.container.derive import KEY_SIZE, Random, hkdf, require_key
from strongroom.container.stanza import Stanza
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import keywrap
from strongroom.keys.holder import KeyHolder
from strongroom.model import SecretBytes
from strongroom.system import private_file

TYPE = "keyfile"
KIND = "strongroom-key-1"
ALGORITHM = "AES256"
LABEL = b"strongroom/v1/wrap/keyfile/"
_FINGERPRINT = b"strongroom/v1/keyfile-fingerprint"
_ARGS = frozenset({"key", "salt", "wrapped"})
_ID = 16


def generate_key_file(path: Path, algorithm: str = ALGORITHM) -> None:
    """Make a key file, mode 0600, durable; refuse to overwrite.

    Raises:
        UsageError: the file exists or cannot be written, or the algorithm is not ``AES256``.
    """
    if algorithm != ALGORITHM:
        raise UsageError(f"unknown algorithm '{algorithm}'", hint=f"The one there is: {ALGORITHM}.")
    private_file.write_line(path, kind=KIND, variety=ALGORITHM, content=os.urandom(KEY_SIZE))


def load_key_file(path: Path) -> bytes:
    """Return the 32 bytes of a key file. Raises ConfigError."""
    variety, key = private_file.read_line(path, kind=KIND)
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

    @property
    def fingerprint(self) -> str:
        return f"{TYPE}:{self._id}"

    def describe(self) -> str:
        return f"anyone with the key file {f'`{self.label}`' if self.label else self._id}"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        # The id says which key opens a copy, so that those of a leaked one can be looked for.
        args: dict[str, str | int] = {"key": self._id}
        args |= keywrap.wrap(self._key.reveal(), key, label=LABEL, context=context, random=self._random)
        return Stanza(type=TYPE, label=self.label, args=args)


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


def load_identity(path: Path) -> KeyFileIdentity:
    """Return what a key file opens with."""
    return KeyFileIdentity(load_key_file(path))
