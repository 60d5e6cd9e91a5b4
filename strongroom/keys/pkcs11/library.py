"""A PKCS#11 library in this process: loaded on first use, begun again after a loss or a fork."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from strongroom.errors import ConfigError
from strongroom.keys.pkcs11.failures import translate
from strongroom.model import SecretBytes

_libraries: dict[Path, Library] = {}


class Library:
    """One library file. Every method is called under the process's one lock.

    ``generation`` changes whenever it was initialized: what was opened before is void.
    """

    __slots__ = ("_handle", "_lost", "_pid", "generation", "logged_in", "path", "refused")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        # The PIN that a token refused, by label and serial number: it is not tried again.
        self.refused: dict[tuple[str | None, str | None], SecretBytes] = {}
        # Serial numbers of tokens that this process is logged in to: a login is not the session's.
        self.logged_in: set[bytes] = set()
        self._handle: Any = None
        self._lost = False
        self._pid = 0

    @property
    def is_stale(self) -> bool:
        """Whether it has to be initialized before it is used."""
        return self._handle is None or self._pid != os.getpid() or self._lost

    def handle(self) -> Any:
        """Return the library, initialized in this process.

        Raises:
            ConfigError: there is no such library.
            KeyServiceUnavailable: it does not initialize.
        """
        if self.is_stale:
            self._begin()
        return self._handle

    def lose(self) -> None:
        """Begin again on next use."""
        self._lost = True

    def _begin(self) -> None:
        from pkcs11.exceptions import PKCS11Error

        self._lost, problem = True, None
        try:
            if self._handle is None:
                self._handle = _load(self.path)
            else:
                # After a fork or a loss it may say that it was not initialized, which is as well.
                with contextlib.suppress(PKCS11Error):
                    self._handle.finalize()
            self._handle.initialize()
        except PKCS11Error as error:
            problem = translate(error, f"the PKCS#11 library '{self.path}'")
        if problem is not None:
            raise problem
        self.generation += 1
        self.logged_in.clear()
        self._pid, self._lost = os.getpid(), False


def library(path: Path) -> Library:
    """Return this process's one object for a library: two would finalize each other's sessions."""
    found = _libraries.get(path)
    return found if found is not None else _libraries.setdefault(path, Library(path))


def _load(path: Path) -> Any:
    import pkcs11

    if not path.is_file():
        raise ConfigError(f"there is no PKCS#11 library '{path}'", hint="Install the HSM's software.")
    try:
        return pkcs11.lib(str(path))
    except pkcs11.PKCS11Error as error:
        if "loading" in str(error):
            raise ConfigError(f"'{path}' is not a PKCS#11 library", hint="Check the path.") from None
        raise
