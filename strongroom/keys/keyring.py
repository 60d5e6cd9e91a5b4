"""A process's signing keys and those that it believes, read again when their list changes."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

from strongroom.container.signing import CertifiedSigner
from strongroom.keys import rolelist, roles

Stamp = tuple[tuple[int, int] | None, ...]


class Keyring:
    """Private keys of roles, and the public halves of all versions.

    ``strongroom up`` makes keys for roles that have none yet, a shell makes its own, and a rotation
    changes them: so a worker looks again when the list changed, and needs no restart.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._signers: dict[str, CertifiedSigner] = {}
        self._listed = rolelist.RoleKeyList()
        self._seen: Stamp = ()

    def signer(self, role: str) -> CertifiedSigner:
        """Return the key that a role signs with now, made if there is none."""
        with self._lock:
            self._look()
            if role not in self._signers:
                self._signers[role] = roles.load_or_create_role(self._folder, role)
            return self._signers[role]

    def accepted(self, role: str, *, begun: datetime | None = None) -> tuple[bytes, ...]:
        """Return the public keys of a role whose new signatures count, the newest first.

        Args:
            begun: when the run began that they are of. What a host signed for it that was thrown out since
                counts too, as all else that it made before, while the run may go on.
        """
        with self._lock:
            self._look()
            now = datetime.now(UTC)
            return tuple(
                key.raw
                for key in reversed(self._listed.of(role))
                if key.accepts(now) or (begun is not None and key.stays_good(begun, now))
            )

    def removed(self, role: str) -> dict[bytes, str]:
        """Return the public keys of a role whose hosts were thrown out, each with its host's name."""
        with self._lock:
            self._look()
            return {key.raw: key.host for key in self._listed.of(role) if key.removed}

    def _look(self) -> None:
        if (seen := stamp(self._folder)) != self._seen:
            self._listed, self._seen = rolelist.read(self._folder), seen
            self._signers.clear()


def stamp(folder: Path) -> Stamp:
    """Return what changes when the list of keys does, or a trust list comes in."""
    return _stat(folder / rolelist.TRUSTED), _stat(folder / rolelist.FOLDER)


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
