"""A refused message is counted, logged and recorded; it never just disappears.

:func:`admit` is the one boundary between what came from the broker and this process: all that
reads, decodes or checks input runs inside it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeVar

from strongroom.errors import name_of
from strongroom.operations.errors import MessageRefused, OwnMessageFailed

log = logging.getLogger(__name__)

T = TypeVar("T")
Record = Callable[..., None]
Refusal = MessageRefused | OwnMessageFailed
QUIET_SECONDS: Final = 1.0
"""Between two events for one reason. A flood of messages must not fill the database
too: what came in between is in the next event's count."""
MOST_REASONS: Final = 100
"""How many reasons are counted apart: an attacker who invents new ones must not fill memory either."""
OTHER: Final = "a message refused for one of many reasons"


def reason_of(error: BaseException) -> MessageRefused:
    """Return why input is refused: kombu wraps what a serializer raises."""
    for cause in (error, error.__cause__, error.__context__):
        if isinstance(cause, MessageRefused):
            return cause
    return MessageRefused(f"an unreadable message ({type(error).__name__})")


def admit(
    read: Callable[[], T],
    refuse: Callable[[Any], None],
    *,
    passing: tuple[type[Exception], ...] = (),
    why: Callable[[Exception], Refusal] = reason_of,
) -> T | None:
    """Return what ``read`` makes of input; whatever it raises, refuse the input and return ``None``.

    Any exception counts, but for want of memory, which says nothing about the input. A list of those that
    input was seen to raise (RecursionError, ValueError for a number of thousands of digits, UnicodeError,
    ...) would be one too short for the next attack.

    Args:
        passing: what says nothing about the input, such as that the broker went away.
        why: makes of an exception what is told.
    """
    try:
        return read()
    except MemoryError:
        raise
    except passing:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        refuse(why(error))
        return None


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
        self._unsaid: Counter[tuple[str, str]] = Counter()
        self._said_at: dict[tuple[str, str], float] = {}
        self.count = 0

    def refuse(self, error: Refusal, *, where: str, size: int = 0) -> None:
        """Note one refused message found on ``where``; never raises."""
        log.error(error.event, extra={"reason": error.message, "where": where, "size": size})
        with self._lock:
            reason = self._told_apart(error)
            self.count += 1
            self._unsaid[reason] += 1
            if not self._is_due(reason):
                return
            count = self._unsaid.pop(reason)
        self._tell(reason, count, where=where, size=size)

    def flush(self) -> None:
        """Record what was counted and not yet said; the consumer calls this every moment."""
        with self._lock:
            unsaid, self._unsaid = dict(self._unsaid), Counter()
        for reason, count in unsaid.items():
            self._tell(reason, count)

    def _told_apart(self, error: Refusal) -> tuple[str, str]:
        reason = (error.event, error.message)
        known = reason in self._said_at or len(self._said_at) < MOST_REASONS
        return reason if known else (error.event, OTHER)

    def _is_due(self, reason: tuple[str, str]) -> bool:
        now = time.monotonic()
        if now - self._said_at.get(reason, -QUIET_SECONDS) < QUIET_SECONDS:
            return False
        self._said_at[reason] = now
        return True

    def _tell(self, reason: tuple[str, str], count: int, **detail: Any) -> None:
        event, words = reason
        try:
            self._record(event, reason=words, count=count, pool=self._pool, **detail)
        except Exception as error:  # noqa: BLE001 - a refusal that cannot be recorded ends no process either
            with self._lock:
                self._unsaid[reason] += count
                self._said_at.pop(reason, None)
            why = name_of(error)
            log.error("refusal-not-recorded", extra={"why": why})
