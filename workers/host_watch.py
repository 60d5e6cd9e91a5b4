"""What a process and the other hosts tell each other: that it lives and in which version, which keys count,
and who waits to join.

Workers and beat do it between two messages, in the thread that takes them: a thread of its own would leave
locks behind in what that process forks. What serves HTTP forks nothing, must not wait for a database in its
loop, and so has a thread for it. It certifies nobody: it only reads otherwise.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom import __version__
from strongroom.errors import StrongroomError, name_of
from strongroom.keys import hostlist, rolelist, roles
from strongroom.operations.engine.membership import certify_waiting, exchange
from workers.paths import role_keys

if TYPE_CHECKING:
    from strongroom.state.store import RunStore

log = logging.getLogger(__name__)

FORGET_SECONDS: Final = 3600.0
LOOK_SECONDS: Final = 10.0
"""So a host that is removed is refused by all others within a minute, also where one look fails."""
AWAY_SECONDS: Final = 30.0
"""How long it does not ask again after the database did not answer: meanwhile messages are to be taken."""


class HostWatch:
    """Looks each time it is asked to and it is time.

    Args:
        certifies: certify who waits to join, where the installation key is.
    """

    def __init__(
        self, role: str, state_dir: Path, store: Callable[[], RunStore], *, certifies: bool = True
    ) -> None:
        self._role, self._store, self._certifies = role, store, certifies
        self._folder = role_keys(state_dir)
        self._due = self._forgets_at = 0.0
        self._refused: set[tuple[str, str]] = set()
        self._ends = False

    def keep_looking(self) -> None:
        """Have a thread look as long as the process lives."""

        def keep() -> None:
            pause = threading.Event()
            while not pause.wait(LOOK_SECONDS if self._due else 0.0):
                self.look()

        threading.Thread(target=keep, name="hosts", daemon=True).start()

    def look(self) -> None:
        """Look, if it is time to; never raises: a database that is away, or a full disk, ends no process."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + LOOK_SECONDS * 0.9
        try:
            self._look(self._store())
        except (StrongroomError, OSError) as error:
            self._due = time.monotonic() + AWAY_SECONDS
            log.warning("hosts-not-looked-at", extra={"why": name_of(error)})

    def _look(self, store: RunStore) -> None:
        name = rolelist.this_host(self._folder)
        store.report_process(name or socket.gethostname(), self._role, version=__version__)
        self._forget(store)
        if not name:
            return
        if exchange(self._folder, store):
            log.info("host-list-taken", extra={"number": hostlist.number(self._folder)})
        if name in hostlist.removed(self._folder):
            self._end(name)
        elif self._certifies and roles.can_certify(self._folder):
            self._certify(store, name)

    def _forget(self, store: RunStore) -> None:
        """Forget hosts that are gone and that nobody has to remove. It takes a day: once an hour will do."""
        if time.monotonic() >= self._forgets_at:
            self._forgets_at = time.monotonic() + FORGET_SECONDS
            keys = (key for own in rolelist.read(self._folder).roles.values() for key in own)
            store.forget_silent(listed={key.host for key in keys if not key.removed})

    def _certify(self, store: RunStore, name: str) -> None:
        done, refused = certify_waiting(self._folder, store)
        for host in done:
            log.info("host-certified", extra={"host": host.host})
            store.event("cluster.certified", host=host.host, keys=dict(host.keys), token=host.token, by=name)
        for request in refused:
            if (request.token, request.why) in self._refused:
                continue
            self._refused.add((request.token, request.why))
            log.error("host-refused", extra={"host": request.host, "why": request.why})
            store.event("cluster.refused", host=request.host, token=request.token, why=request.why, by=name)

    def _end(self, name: str) -> None:
        """Stop in order: all others refuse what this host sends, so it had better take nothing."""
        if not self._ends:
            self._ends = True
            log.error("host-was-removed", extra={"host": name})
            os.kill(os.getpid(), signal.SIGTERM)
