"""How long a restore takes at the least, where the destination lets only so many writes through.

A drill restores into a store on this host and knows nothing of that: at the destination's own pace the
same secrets may take hours.
"""

from __future__ import annotations

from strongroom.cli.terminal.output import plural
from strongroom.durations import at_least
from strongroom.sources import Destination, Rationed


def least_seconds(destination: Destination, *, secrets: int, versions: int) -> float | None:
    """Return the seconds, or ``None`` if nothing but the machines sets a pace."""
    if not secrets or not isinstance(destination, Rationed):
        return None
    return destination.least_seconds(secrets=secrets, versions=versions)


def describe_least(name: str, seconds: float, *, secrets: int, versions: int) -> str:
    """Say it."""
    what = f"{plural(secrets, 'secret')} ({plural(versions, 'version')})"
    return f"'{name}' takes at least {at_least(seconds)} for {what}, at the rate that it allows"
