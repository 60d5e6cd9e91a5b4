"""Schedules whose slots are far from now, on whatever day the tests run."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

FURTHEST = 28
"""The last day that every month has."""


def monthly(now: float | None = None) -> str:
    """Return a monthly schedule whose last slot was, and whose next one is, 12 days or more away."""
    moment = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    return f"0 3 {min((moment - timedelta(days=15)).day, FURTHEST)} * *"
