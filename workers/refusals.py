"""A refused message is counted, logged and recorded; it never just disappears."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from strongroom.errors import MessageRefused, StrongroomError

log = logging.getLogger(__name__)

Record = Callable[..., None]
EVENT: Final = "message-refused"
QUIET_SECONDS: Final = 1.0
"""Between two events for one reason. Whoever floods the broker must not fill the database
too: what came in between is in the next event's count."""


class Refusals:
    """Counts refusals by reason and records them as events of the run store.

    Args:
        record: ``RunStore.event``, or what stands in for it.
        pool: which workers refused.
    """

    def __init__(self, record: Record, *, pool: str) -> None:
        self._record = record
        self._pool = pool
        self._lock = threading.Lock()
        self._unsaid: Counter[str] = Counter()
        self._said_at: dict[str, float] = {}
        self.count = 0

    def refuse(self, error: MessageRefused, *, where: str, size: int = 0) -> None:
        """Note one refused message found on ``where``; never raises."""
        log.error("message-refused", extra={"reason": error.message, "where": where, "size": size})
        with self._lock:
            self.count += 1
            self._unsaid[error.message] += 1
            if not self._is_due(error.message):
                return
            count = self._unsaid.pop(error.message)
        self._tell(error.message, count, where=where, size=size)

    def flush(self) -> None:
        """Record what was counted and not yet said; the consumer calls this every moment."""
        with self._lock:
            unsaid, self._unsaid = dict(self._unsaid), Counter()
        for reason, count in unsaid.items():
            self._tell(reason, count)

    def _is_due(self, reason: str) -> bool:
        now = time.monotonic()
        if now - self._said_at.get(reason, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._said_at[reason] = now
        return True

    def _tell(self, reason: str, count: int, **detail: Any) -> None:
        try:
            self._record(EVENT, reason=reason, count=count, pool=self._pool, **detail)
        except StrongroomError as error:
            with self._lock:
                self._unsaid[reason] += count
                self._said_at.pop(reason, None)
            log.error("refusal-not-recorded", extra={"why": error.code})
