"""This process's services, made on first use: always after the fork, never before it."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from strongroom.config import Settings
from strongroom.errors import StrongroomError
from strongroom.keys.keyring import Stamp, stamp
from workers.paths import role_keys

if TYPE_CHECKING:
    from strongroom.operations.services import Services


class PerProcess:
    """Builds services once a process and closes them at its end.

    A connection or file handle that crosses a fork is shared by two processes that do not
    know of each other; a process id that changed therefore means: build again. So does a changed
    list of signers: one that leaked must not be believed until somebody restarts the workers.
    """

    def __init__(self, settings: Settings, *, role: str) -> None:
        self._settings = settings
        self._role = role
        self._lock = threading.Lock()
        self._made: tuple[int, Stamp, Services] | None = None
        os.register_at_fork(after_in_child=self._forget)

    def get(self) -> Services:
        """Return this process's services. Raises ConfigError or StateError."""
        with self._lock:
            now = (os.getpid(), stamp(role_keys(self._settings.state_dir)))
            if self._made is None or self._made[:2] != now:
                services = self._build()  # which makes keys, and lists them, where there are none
                self._made = (now[0], stamp(role_keys(self._settings.state_dir)), services)
            return self._made[2]

    def close(self) -> None:
        """Close what this process opened."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None and made[0] == os.getpid():
            with suppress(StrongroomError):
                made[2].store.close()

    def record(self, kind: str, **detail: Any) -> None:
        """Append an event to the run store."""
        self.get().store.event(kind, **detail)

    def _build(self) -> Services:
        from strongroom.wiring.services import build_services

        return build_services(self._settings, role=self._role)

    def _forget(self) -> None:
        # Another thread may have held the lock when this process was forked off.
        self._lock = threading.Lock()
        self._made = None
