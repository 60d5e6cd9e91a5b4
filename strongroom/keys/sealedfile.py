"""A file that holds a key, sealed by a passphrase: whoever copies the file alone opens nothing.

One line as of any key's file, whose content is what scrypt and AES-256-GCM make of the key, as in a stanza
of type ``scrypt``. The key's public id stands in it, so nobody is asked for a passphrase before something
is there that the key opens.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from strongroom.container.derive import Random
from strongroom.container.stanza import LOG_N, Stanza
from strongroom.keys import Opener, Recipient, keywrap, passphrase
from strongroom.keys.errors import PassphraseNeeded, WrongPassphrase
from strongroom.keys.holder import KeyHolder
from strongroom.keys.prompting import Passphrases
from strongroom.system import private_file
from strongroom.system.errors import KeyFileUnreadable

BY_PASSPHRASE = "sealed by a passphrase"  # noqa: S105 - words
"""The end of what a sealed key is called."""
_LABEL = b"strongroom/v1/sealed-key/"
_TAIL = passphrase.SALT + keywrap.SALT + keywrap.WRAPPED


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
        kek = passphrase.scrypt(passphrase.normalised(words), self.kdf_salt, self.log_n)
        return keywrap.unwrap(
            kek, self.args, label=_LABEL, context=_context(self.kind, self.variety, self.id)
        )


def write(path: Path, words: str, *, kind: str, variety: str, key: bytes, id: bytes) -> None:  # noqa: A002
    """Write a key's file that this passphrase opens. Raises UsageError, NotDerived."""
    content = seal(words, kind=kind, variety=variety, key=key, id=id)
    private_file.write_line(path, kind=sealed_kind(kind), variety=variety, content=content)


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
    log_n = passphrase.DEFAULT_LOG_N if log_n is None else log_n
    salt = random(passphrase.SALT)
    kek = passphrase.scrypt(passphrase.normalised(words), salt, log_n)
    wrapped = keywrap.wrap(kek, key, label=_LABEL, context=_context(kind, variety, id), random=random)
    return bytes([log_n]) + id + salt + bytes.fromhex(wrapped["salt"] + wrapped["wrapped"])


def sealed_kind(kind: str) -> str:
    """Return what a kind of file is called when it is sealed."""
    return kind.replace("strongroom-", private_file.SEALED, 1)


def read(path: Path, *, kind: str) -> SealedKeyFile:
    """Return what the sealed file of a kind of key says.

    Raises:
        KeyFileUnreadable, KeyFileExposed: it is damaged, or open to others.
    """
    variety, content = private_file.read_line(path, kind=sealed_kind(kind))
    if len(content) <= 1 + _TAIL or content[0] not in LOG_N:
        raise KeyFileUnreadable(f"'{path}' holds a sealed key of an unknown kind")
    own, tail = content[1:-_TAIL], content[-_TAIL:]
    salt, wrapped = tail[passphrase.SALT : -keywrap.WRAPPED], tail[-keywrap.WRAPPED :]
    return SealedKeyFile(
        path=path,
        kind=kind,
        variety=variety,
        id=own,
        log_n=content[0],
        kdf_salt=tail[: passphrase.SALT],
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
