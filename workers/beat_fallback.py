"""What keeps the runs going while beat is stopped or hung: a worker asks in its place.

Each transfer worker looks every few seconds, by the database, when beat and reconcile were last seen. What is
overdue is asked for by one of them: whoever takes the turn in the database. So no run waits for beat.
The transfer workers do it since they never fork: a thread in a process that forks leaves locks behind.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from strongroom.alert_kinds import BEAT_RESTS
from strongroom.errors import StrongroomError
from workers import names

if TYPE_CHECKING:
    from strongroom.state.store import RunStore
    from workers.app import Strongroom

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 5.0
TICK_SECONDS, ALERT_SECONDS = names.SECONDS_BETWEEN[names.TICK], names.SECONDS_BETWEEN[names.ALERTS]
RECONCILE_SECONDS: Final = 3 * names.SECONDS_BETWEEN[names.RECONCILE]
"""The control workers may be busy."""
UNHEARD: Final = 2 * ALERT_SECONDS + 600.0
"""Seconds without a look for alerts after which a worker asks for one although beat lives: whatever became of
beat's own messages, people are to hear of it."""
SETTLES: Final = 120.0
"""Seconds after its start in which a worker tells nobody of beat: the whole cluster may just be starting."""


def begin(app: Strongroom) -> None:
    """Begin to look, in a process that may."""
    if app.role == names.TRANSFER:
        BeatFallback(app).start()


class BeatFallback(threading.Thread):
    """Looks again and again whether beat is alive, as long as the process lives."""

    def __init__(self, app: Strongroom) -> None:
        super().__init__(name="overdue", daemon=True)
        self._app = app
        self._done = threading.Event()
        self._since = time.monotonic()

    def stop(self) -> None:
        """Look no more."""
        self._done.set()

    def run(self) -> None:
        """Look until stopped. Whatever fails is tried again: nobody else would."""
        while not self._done.wait(LOOK_SECONDS):
            try:
                self.look()
            except (StrongroomError, OperationalError, RedisError, OSError) as error:
                log.warning("overdue-not-checked", extra={"why": type(error).__name__})

    def look(self) -> list[str]:
        """Ask for what nobody has asked for in time; return the names of the tasks."""
        store = self._app.services.get().store
        asked = [names.RECONCILE] if store.take_turn(names.RECONCILE, every=RECONCILE_SECONDS) else []
        age = store.heartbeats().get(names.BEAT)
        if age is None:  # where there never was one, none is replaced
            pass
        elif age > BEAT_RESTS:
            asked += self._instead_of_beat(store, age)
        elif self._lives_since(UNHEARD) and store.take_turn(names.ALERTS, every=UNHEARD):
            log.error("alerts-not-looked-for", extra={"seconds": round(UNHEARD)})
            asked.append(names.ALERTS)
        for task in asked:
            self._app.send_task(
                task,
                kwargs={"instead": True} if task == names.TICK else {},
                queue=names.HOME_OF[task],
                expires=2 * TICK_SECONDS,
            )
        return asked

    def _instead_of_beat(self, store: RunStore, age: float) -> list[str]:
        asked = [names.TICK] if store.take_turn("tick instead of beat", every=TICK_SECONDS) else []
        if self._lives_since(SETTLES) and store.take_turn("alerts instead of beat", every=ALERT_SECONDS):
            asked.append(names.ALERTS)
        if asked:
            log.error("beat-is-silent", extra={"seconds": round(age), "asked": ", ".join(asked)})
        return asked

    def _lives_since(self, seconds: float) -> bool:
        """Tell whether this worker has been there for so long, and there is anybody to tell."""
        return time.monotonic() - self._since > seconds and self._app.settings.tells
