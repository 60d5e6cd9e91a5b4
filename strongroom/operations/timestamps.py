"""Times as people and records write them."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Return a time in seconds since the epoch as RFC 3339, in UTC, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def if_any(seconds: float | None) -> str | None:
    """Return a time as RFC 3339, or ``None`` for none: for documents."""
    return None if seconds is None else rfc3339(seconds)
