"""Times: moments and lengths, as records, file names and people write them."""

from __future__ import annotations

import math
import os
import re
from datetime import UTC, datetime
from typing import Final

from strongroom.words import plural

# -- Moments as records, file names and people write them: in UTC, but for what goes by a zone's clock


Moment = float | datetime
"""Seconds since the epoch, or a time that knows its zone."""


def rfc3339(moment: Moment) -> str:
    """Return a moment as RFC 3339, to the second: ``2026-11-26T08:00:00Z``."""
    return _utc(moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def if_any(moment: Moment | None) -> str | None:
    """Return a moment as RFC 3339, or ``None`` for none: for documents."""
    return None if moment is None else rfc3339(moment)


def as_written(text: str | None) -> datetime | None:
    """Return a time as a source wrote it; one without a zone is UTC, and what is no time is none."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def beginning(text: str) -> float:
    """Return when a date that a person wrote begins, or a time, in seconds since the epoch; without a zone
    they are UTC. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).timestamp()


def by_then(text: str) -> float:
    """Return the last moment that a person means by a date, or by a time. Raises ValueError."""
    is_date = len(text) <= len("2026-07-20")
    return beginning(text) + (86_399.0 if is_date else 0.0)


def compact(moment: Moment) -> str:
    """Return a moment as names begin with it that sort by it: ``20261126T080000Z``."""
    return _utc(moment).strftime("%Y%m%dT%H%M%SZ")


def stamp(moment: float) -> str:
    """Return a time as the ids of runs begin with it, so that they sort by it.

    To the microsecond: by whole seconds, chance would tell which of two quick backups is the newest.
    """
    seconds, microseconds = divmod(int(moment * 1_000_000), 1_000_000)
    return f"{_utc(seconds).strftime('%Y%m%dT%H%M%S')}{microseconds:06}Z"


RUN_ID: Final = re.compile(r"([0-9]{8}T[0-9]{6})[0-9]{0,6}Z-[0-9a-f]{8}(?:-r[0-9]+)?")
"""How a run is called, and the backup that it made; what was encrypted anew has a number behind."""


def unique(moment: Moment) -> str:
    """Return a name that sorts by its moment, and that nobody else takes: ``20261126T080000Z-5f1c22ab``."""
    return f"{compact(moment)}-{os.urandom(4).hex()}"


def for_people(moment: Moment) -> str:
    """Return a moment as a table shows it: ``2026-11-26 08:00:00 UTC``."""
    return _utc(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


def readable(text: str) -> str:
    """Return a moment that a record has, as a table shows it; nothing if there is none."""
    return text.replace("T", " ").replace("Z", " UTC")


def _utc(moment: Moment) -> datetime:
    return (
        moment.astimezone(UTC) if isinstance(moment, datetime) else datetime.fromtimestamp(int(moment), UTC)
    )


# -- Lengths of time: read as people type them, written as people say them ----------------------


_TYPED = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?) ?(?P<unit>s|min|m|h|d|w)")
_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SAID: Final = ((2 * 86_400, 86_400, "day"), (2 * 3600, 3600, "hour"), (120, 60, "minute"))


def parse(text: str) -> float:
    """Return the seconds that a text such as ``48h``, ``30 min`` or ``1.5d`` means.

    A unit is needed: without it nobody knows whether minutes or hours were meant. Raises ValueError.
    """
    match = _TYPED.fullmatch(text)
    if match is None:
        raise ValueError("no length of time")
    return float(match["number"]) * _SECONDS[match["unit"]]


def about(seconds: float) -> str:
    """Write a length of time in the unit that fits it: ``3 days``, ``26 hours``, ``45 seconds``."""
    if not math.isfinite(seconds):  # of a row that somebody edited
        return "nobody knows how long"
    for least, unit, word in _SAID:
        if seconds >= least:
            return plural(int(seconds // unit), word)
    return plural(max(0, int(seconds)), "second")


def at_least(seconds: float) -> str:
    """Write an estimate, rounded up to what matters: ``90 s``, ``15 min``, ``2 h 10 min``."""
    whole = max(1, math.ceil(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = math.ceil(whole / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def measured(seconds: float) -> str:
    """Write what a clock showed: ``34 ms``, ``3.2 s``, ``2 min 5 s``, ``2 h 10 min``."""
    if not math.isfinite(seconds):
        return "nobody knows how long"
    if seconds < 1:
        return f"{round(max(0.0, seconds) * 1000)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else rest, "s"))
    return " ".join(f"{number:,} {unit}" for number, unit in parts if number)
