"""This process's services, made on first use: always after the fork, never before it."""

from __future__ import annotations

import logging
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from strongroom.config import Settings
from strongroom.config.live import LiveSettings, SettingsChange
from strongroom.errors import StrongroomError
from strongroom.keys.keyring import Stamp, stamp
from strongroom.model import Role
from workers.names import SUBMIT
from workers.paths import role_keys

if TYPE_CHECKING:
    from strongroom.operations.engine.services import Services
    from strongroom.state.store import RunStore

log = logging.getLogger(__name__)


class PerProcess:
    """Builds services once a process and closes them at its end.

    A connection or file handle that crosses a fork is shared by two processes that do not
    know of each other; a process id that changed therefore means: build again. So does a changed
    list of signers, for one that leaked must not be believed until somebody restarts the workers;
    and so do changed settings. A run that began before they changed ends under those before.
    """

    def __init__(self, live: LiveSettings, *, role: str) -> None:
        self._live = live
        self._role = role
        self._lock = threading.Lock()
        self._made: tuple[tuple[int, Stamp, int], Services] | None = None
        self._earlier: tuple[int, Services] | None = None
        os.register_at_fork(after_in_child=self._forget)

    def settings(self) -> Settings:
        """Return the settings in force, having looked whether their file changed."""
        with self._lock:
            change = self._live.look()
            settings = self._live.current
        if change is not None:
            self._tell(change)
        return settings

    @property
    def version(self) -> int:
        """How often the settings changed."""
        return self._live.version

    def get(self) -> Services:
        """Return this process's services. Raises ConfigError or StateError."""
        self.settings()
        with self._lock:
            if self._made is None or self._made[0] != self._basis():
                begins = self._made is None
                services = self._build(self._live.current)  # makes keys, and lists them, where there are none
                self._made = (self._basis(), services)
                if begins:
                    self._settle(services.store)
            return self._made[1]

    def of_run(self, run: str) -> Services:
        """Return the services that a run goes on with: those of the settings that it began under."""
        from strongroom.operations.engine.integrity import agrees

        services = self.get()
        with suppress(StrongroomError):  # what cannot be judged goes on under the settings of now
            earlier = self._before()
            if earlier is not None:
                begun = services.store.load(run)
                return earlier if agrees(begun, earlier) and not agrees(begun, services) else services
        return services

    def store(self) -> RunStore:
        """Return the run store alone: whoever needs no more opens no target and makes no key."""
        from strongroom.wiring.services import run_store

        return run_store(self.settings())

    def close(self) -> None:
        """Close what this process opened."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None and made[0][0] == os.getpid():
            with suppress(StrongroomError):
                made[1].store.close()

    def record(self, kind: str, **detail: Any) -> None:
        """Append an event to the run store."""
        self.get().store.event(kind, **detail)

    def _basis(self) -> tuple[int, Stamp, int]:
        """Return what the services rest on."""
        return os.getpid(), stamp(role_keys(self._live.current.state_dir)), self._live.version

    def _build(self, settings: Settings) -> Services:
        from strongroom.wiring.services import build_services

        return build_services(settings, role=Role(self._role))

    def _before(self) -> Services | None:
        """Return the services of the settings before the newest change, if they changed."""
        with self._lock:
            before, version = self._live.before, self._live.version
            if before is None:
                return None
            if self._earlier is None or self._earlier[0] != version:
                self._earlier = (version, self._build(before))
            return self._earlier[1]

    def _tell(self, change: SettingsChange) -> None:
        """Log and record what became of a changed file. Without the record, the log has it."""
        fields = {"file": change.file, "sha256": change.sha256}
        if change.taken:
            log.info("settings-taken", extra=fields)
        elif change.problem:
            log.error("settings-refused", extra=fields | {"why": change.problem})
        else:
            log.warning("settings-wait-for-restart", extra=fields | {"sections": ", ".join(change.waits)})
        if self._role == SUBMIT:
            return
        from strongroom.operations.engine.noted import record

        try:
            record(self.store(), socket.gethostname(), change)
        except StrongroomError as error:
            log.warning("settings-change-not-recorded", extra={"why": error.code})

    def _settle(self, store: RunStore) -> None:
        from strongroom.operations.engine.noted import settle

        if self._role != SUBMIT:
            with suppress(StrongroomError):
                settle(store, socket.gethostname(), self._live.change)

    def _forget(self) -> None:
        # Another thread may have held the lock when this process was forked off.
        self._lock = threading.Lock()
        self._made = self._earlier = None
