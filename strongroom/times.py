"""Moments as records, file names and people write them: in UTC, but for what goes by a zone's clock."""

from __future__ import annotations

import os
from datetime import UTC, datetime

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


def compact(moment: Moment) -> str:
    """Return a moment as names begin with it that sort by it: ``20261126T080000Z``."""
    return _utc(moment).strftime("%Y%m%dT%H%M%SZ")


def stamp(moment: float) -> str:
    """Return a time as the ids of runs begin with it, so that they sort by it.

    To the microsecond: by whole seconds, chance would tell which of two quick backups is the newest.
    """
    seconds, microseconds = divmod(int(moment * 1_000_000), 1_000_000)
    return f"{_utc(seconds).strftime('%Y%m%dT%H%M%S')}{microseconds:06}Z"


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
