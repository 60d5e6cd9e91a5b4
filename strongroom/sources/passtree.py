"""A store of ``pass``: a directory of files, each sealed by gpg to the keys of ``.gpg-id``.

A secret's name is the file's path without ``.gpg``; its value is all that gpg makes of the file, byte for
byte. The lines below the password are part of the value and not metadata: they hold PINs, recovery
codes and seeds as often as user names. What gpg makes goes through a pipe, never to a disk.

gpg runs without a terminal: a key that asks for its passphrase has to be unlocked in gpg's agent
beforehand, or to have none.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Sequence

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Secret
from strongroom.sources import Source
from strongroom.sources.errors import EmptySource
from strongroom.sources.history import only
from strongroom.sources.program import ProgramEnd, run
from strongroom.sources.slices import LARGEST, refusal
from strongroom.sources.tree import GONE, Directories, SecretTreeWalk

SUFFIX = ".gpg"
_COMMAND = (
    *("gpg", "--batch", "--no-tty", "--quiet", "--status-fd", "2"),
    *("--pinentry-mode", "error", "--no-auto-key-retrieve", "--decrypt"),
)
_LEAST = 4_096
_log = logging.getLogger(__name__)


class PassTree(Source):
    """The source over a store of ``pass``."""

    def __init__(self, path: str, *, name: str) -> None:
        self._path = path
        self.name = name

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield an entry for every sealed file. Its size is a guess from the file's: gpg packs.

        Raises:
            EmptySource: there is none.
            SourceError: a directory is missing or unreadable, or a name is not UTF-8.
        """
        tags: dict[str, str] | None = {} if with_tags else None
        entry, left_out = None, 0
        for path, size in SecretTreeWalk(self._path).files():
            if any(part.startswith(".") for part in path.split("/")):
                continue  # the store's own: .gpg-id, .git, .extensions
            if not path.endswith(SUFFIX):
                left_out += 1
                continue
            entry = ListedSecret(path.removesuffix(SUFFIX), max(_LEAST, 4 * size), (), tags)
            yield entry
        if left_out:
            _log.warning("%d files of '%s' are not sealed by gpg; left out", left_out, self._path)
        if entry is None:
            raise EmptySource(f"'{self._path}' holds no file that ends with {SUFFIX}")

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield each secret, or ``None`` if there is no such file (any more).

        Raises:
            SourceError: gpg is missing, has no key for a file or may not use it, or finds it damaged.
        """
        directories = Directories(self._path)
        try:
            for entry in entries:
                value = self._value(directories, entry.name)
                yield None if value is None else only(entry.name, value)
        finally:
            directories.close()

    def _value(self, directories: Directories, name: str) -> bytes | None:
        if any(part.startswith(".") for part in name.split("/")):
            return None
        try:
            descriptor = directories.open_file(name + SUFFIX)
        except OSError as error:
            if error.errno in GONE:
                return None
            raise refusal(f"{self._path}/{name}{SUFFIX}", error) from None
        if descriptor is None:
            return None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return _decrypted(name, run(_COMMAND, about=f"secret '{name}'", stdin=descriptor, limit=LARGEST))
        finally:
            os.close(descriptor)


def _decrypted(name: str, ended: ProgramEnd) -> bytes:
    """Return the plaintext, if gpg says that it is whole: a cut or changed one comes out too."""
    status = [line.split()[1:] for line in ended.errors.splitlines() if line.startswith(b"[GNUPG:] ")]
    said = {words[0] for words in status if words}
    if ended.status == 0 and b"DECRYPTION_OKAY" in said:
        return ended.output
    problem, hint = _problem(said, ended.errors)
    raise SourceError(f"secret '{name}': {problem}", hint=hint)


def _problem(said: set[bytes], errors: bytes) -> tuple[str, str]:
    """Return what was wrong, and what to do."""
    if b"NODATA" in said:
        return "the file is not sealed by gpg", "Move it out of the store, or exclude it."
    if b"pinentry" in errors.lower():
        return "the key is locked: gpg wants its passphrase, and nobody is there to ask", _UNLOCK
    if b"NO_SECKEY" in said:
        return "gpg has no secret key that opens it", _IMPORT
    return "gpg found the file damaged, or could not open it", "Compare with the store's git history."


_UNLOCK = (
    "Unlock it in gpg's agent for the user that makes backups (gpg-preset-passphrase), "
    "or seal the store to a key for backups too: pass init KEY..."
)
_IMPORT = "Import the key for the user that makes backups (GNUPGHOME), or add one: pass init KEY..."
