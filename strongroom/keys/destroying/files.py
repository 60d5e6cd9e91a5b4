"""Destroying a key that lies in a file: overwritten, then unlinked.

That is as good as the medium: a copying file system, a flash disk, a snapshot or somebody's copy may
keep what was there. So it is never called proven.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from strongroom.container.wrapping import Identity, Stanza
from strongroom.keys.destroying import Fate, KeyVersionState
from strongroom.keys.errors import KeyNotDestroyed
from strongroom.system import files

DOUBT = "a file that is overwritten and removed is as gone as its medium forgets it"


class FileDestroyer:
    """A key file, or the private half of a key pair.

    Args:
        type: of its stanzas.
        public: what they call it, ``type:id``; asked for on use.
        load: reads it as what opens.
    """

    renews = False

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        type: str,  # noqa: A002 - what stanzas call it
        public: Callable[[], str],
        load: Callable[[Path], Identity],
    ) -> None:
        self.name = name
        self._path = path
        self._type = type
        self._public = public
        self._load = load

    def owns(self, stanza: Stanza) -> bool:
        named = f"{stanza.type}:{stanza.args.get('key')}"
        return stanza.type == self._type and named == self._public()

    def takes(self, version: int, other: int) -> bool:
        return version == other

    def look(self, version: int) -> KeyVersionState:  # noqa: ARG002 - a file holds one
        there = os.path.lexists(self._path)
        return KeyVersionState(
            fate=Fate.THERE if there else Fate.GONE,
            where=str(self._path),
            absent=not there,
            doubts=(DOUBT,),
            answer={"file": "there" if there else "gone"},
        )

    def prepare(self, version: int) -> None:
        """Do nothing: the policy has to name another key first."""

    def destroy(self, version: int) -> None:  # noqa: ARG002 - as above
        """Overwrite it with noise, and remove it. Killed half-way, it is done again.

        Raises:
            KeyNotDestroyed: it is a link, or has another name that would keep it.
        """
        if not os.path.lexists(self._path):
            return
        try:
            _overwrite(self._path)
            _mark(self._path).touch(mode=0o600)
            self._path.unlink()
            files.sync(self._path.parent)
        except OSError as error:
            raise KeyNotDestroyed(f"'{self._path}' could not be destroyed: {error.strerror}") from None

    def identity(self, version: int) -> Identity:  # noqa: ARG002 - as above
        return self._load(self._path)


def is_destroyed(path: Path) -> bool:
    """Say whether a key's file is missing because it was destroyed on purpose."""
    return not os.path.lexists(path) and _mark(path).exists()


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}.destroyed")


def _overwrite(path: Path) -> None:
    # O_NOFOLLOW: through a link, something else would be overwritten.
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise KeyNotDestroyed(
                f"'{path}' is no file of one name, so removing it would leave the key elsewhere",
                hint="Remove its other names by hand, then 'strongroom keys shred --resume'.",
            )
        for content in (os.urandom(found.st_size), bytes(found.st_size)):
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, content)
            os.fsync(descriptor)
    finally:
        with suppress(OSError):
            os.close(descriptor)
