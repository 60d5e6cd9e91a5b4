"""What time it is where backups lie: this host's clock may be wrong."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Protocol, runtime_checkable

from strongroom.errors import TargetError
from strongroom.targets import Target
from strongroom.targets.resilient import Resilient, bare


@runtime_checkable
class Clocked(Protocol):
    """What a target can do besides, if its server has a clock of its own."""

    def time(self) -> float:
        """Return the server's time, in seconds since the epoch. Raises TargetError if it does not say."""
        ...


def time_of(target: Target) -> float | None:
    """Return the time by a target's own clock, or ``None`` if it has none."""
    inner = bare(target)
    if not isinstance(inner, Clocked):
        return None
    return target.tried(inner.time) if isinstance(target, Resilient) else inner.time()


def stamped(date: str | None, title: str) -> float:
    """Return the time that an HTTP reply says it was made at."""
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        raise TargetError(f"{title} does not say what time it is there") from None
