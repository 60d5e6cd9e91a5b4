"""Times as the server writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?)(ms|us|µs|ns|h|m|s)")
_NANOSECONDS = re.compile(r"(\.\d{6})\d+")


def time_of(text: str) -> datetime:
    """Parse RFC 3339 with nanoseconds, which Python drops. Raises ValueError."""
    found = datetime.fromisoformat(_NANOSECONDS.sub(r"\1", text))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def seconds_of(duration: str) -> float:
    """Parse a duration as Go writes it, ``1h30m0s``; negative is "switched off"."""
    sign = -1.0 if duration.startswith("-") else 1.0
    return sign * sum(float(number) * _UNIT[unit] for number, unit in _PART.findall(duration))
