"""A beat that keeps no schedule file: what is due is decided by slots in the database.

Of several beats one has the lease. The others send nothing, and one takes over seconds after it is gone.
Nothing rests on that: two that send at once still make one run of each slot.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from celery.beat import Scheduler
from celery.schedules import schedule as Every  # noqa: N812 - a class in lower case

from strongroom.errors import StrongroomError
from workers import names
from workers.broker import telling
from workers.host_watch import HostWatch

log = logging.getLogger(__name__)

LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
SETTLES: Final = timedelta(minutes=2)
AHEAD: Final = timedelta(minutes=5)
"""How far in the future an entry may have run last: so much the first look for alerts is put off at most."""

LEASE_SECONDS: Final = 8.0
RENEW_SECONDS: Final = 2.0
"""How often the lease is renewed, and asked for by those that stand by."""


class MemoryScheduler(Scheduler):  # type: ignore[misc]
    """Starts afresh each time, sending the periodic checks at once.

    So what came due while no beat ran is opened within moments of a restart.
    """

    def __init__(self, *args: Any, schedule_filename: str = "", **kwargs: Any) -> None:  # noqa: ARG002
        super().__init__(*args, **kwargs)
        self._lease = Lease(self.app.services.store)
        self._version = self.app.services.version
        self._watch = HostWatch(self.app.role, self.app.settings.state_dir, self.app.services.store)

    @cached_property
    def connection(self) -> Any:
        """What it sends by: as long as the broker is away beat waits, and tells that it works."""
        return telling(self.app.connection_for_write(), self.app.pulse)

    def setup_schedule(self) -> None:
        """Take the entries from the configuration; mark the interval ones as due.

        The look for alerts waits until what came due meanwhile is begun: else each new start is an alarm.
        """
        super().setup_schedule()
        for entry in self.schedule.values():
            self._begin(entry)

    def _begin(self, entry: Any) -> None:
        if not isinstance(entry.schedule, Every):
            entry.last_run_at = self.app.now()
        elif entry.task == names.ALERTS:
            entry.last_run_at = self.app.now() + SETTLES - entry.schedule.run_every
        else:
            entry.last_run_at = LONG_AGO

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due, if it is this beat that sends; return in how many seconds to ask again."""
        self.app.pulse()
        self._reread()
        self._heed_the_clock()
        self._watch.look()
        if not self._lease.held():
            return RENEW_SECONDS
        return min(float(super().tick(*args, **kwargs)), RENEW_SECONDS)

    def close(self) -> None:
        """Let another beat take over at once."""
        super().close()
        self._lease.release()

    def _heed_the_clock(self) -> None:
        """Begin afresh with what ran last in the future: the clock was ahead then, and has been put right.

        Otherwise nothing would be due until that time has come.
        """
        latest = self.app.now() + AHEAD
        if ahead := [entry for entry in self.schedule.values() if entry.last_run_at > latest]:
            log.warning("beat-was-ahead", extra={"entries": len(ahead)})
            for entry in ahead:
                self._begin(entry)
            self._heap = None

    def _reread(self) -> None:
        """Take on the entries of settings that changed, and ask at once for what is due by them."""
        self.app.services.settings()
        if self._version != self.app.services.version:
            self._version = self.app.services.version
            self.merge_inplace(self.app.beat_entries())
            for entry in self.schedule.values():
                if entry.task == names.TICK and isinstance(entry.schedule, Every):
                    entry.last_run_at = LONG_AGO
            self._heap = None


class Lease:
    """Whether it is this beat that sends.

    As long as the database does not answer that stays as it was, and a beat that has just started sends:
    somebody has to ask for the look for alerts, which tells of the database.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._holder = self._owner
        self._asked = -LEASE_SECONDS

    def held(self) -> bool:
        """Tell whether this beat has the lease, having renewed it or asked for it if it is time to."""
        if time.monotonic() - self._asked > RENEW_SECONDS * 0.9:
            self._ask()
        return self._holder == self._owner

    def release(self) -> None:
        """Give it back, if it was ever asked for."""
        if self._asked < 0:
            return
        with suppress(StrongroomError):
            self._store().release_lease(names.BEAT, self._owner)

    def _ask(self) -> None:
        first, before = self._asked < 0, self._holder
        try:
            self._holder = self._store().take_lease(names.BEAT, self._owner, seconds=LEASE_SECONDS)
        except StrongroomError as error:
            log.warning("beat-lease-unknown", extra={"why": error.code})
        self._asked = time.monotonic()
        if self._holder != before or first:
            self._tell(before)

    def _tell(self, before: str) -> None:
        if self._holder != self._owner:
            log.info("beat-stands-by", extra={"for": self._holder})
        elif before != self._owner:
            log.warning("beat-took-over", extra={"from": before})
        else:
            log.info("beat-leads")
