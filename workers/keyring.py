"""The keys that messages are signed and checked with, read again when their file changes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from strongroom.container.signing import Signer
from strongroom.keys import roles


class Keyring:
    """This process's own signing key, and the public halves of all roles.

    ``strongroom up`` makes keys for roles that have none yet, and a shell makes its own:
    so a worker looks again when the file of public halves changed, and needs no restart.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._signers: dict[str, Signer] = {}
        self._public: Mapping[str, bytes] = {}
        self._seen: tuple[int, int] | None = None

    def signer(self, role: str) -> Signer:
        """Return the key of a role, made now if there is none."""
        with self._lock:
            if role not in self._signers:
                self._signers[role] = roles.load_or_create_role(self._folder, role)
            return self._signers[role]

    def public(self, role: str) -> bytes | None:
        """Return a role's public key, or ``None`` if nobody here trusts that role."""
        with self._lock:
            seen = self._stamp()
            if seen != self._seen:
                self._public, self._seen = roles.trusted(self._folder), seen
            return self._public.get(role)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = (self._folder / roles.TRUSTED).stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_mtime_ns
