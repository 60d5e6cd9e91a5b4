"""How long a restore takes: by what was measured, and at the least by what the destination lets through.

A drill restores into a store on this host and knows nothing of that: at the destination's own pace the
same secrets may take hours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from strongroom.cli.terminal.output import plural
from strongroom.durations import at_least
from strongroom.operations.restore.journal import Restored
from strongroom.operations.restore.rates import Rate, measured_rate
from strongroom.sources import Destination


class Estimate(Struct, frozen=True, kw_only=True):
    """How long a restore takes. ``seconds`` is ``None`` if nothing is known of it."""

    seconds: float | None
    least: float | None
    rate: Rate | None

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "seconds": self.seconds,
            "least_seconds": self.least,
            "seconds_per_write": self.rate.writing if self.rate else None,
            "seconds_per_secret": self.rate.looking if self.rate else None,
            "restores": self.rate.restores if self.rate else 0,
        }

    def describe(self, name: str, planned: Restored) -> str:
        """Say it, of a destination that is called by ``name``."""
        if self.rate is not None and self.seconds != self.least:
            times = (
                "the last restore" if self.rate.restores == 1 else f"the last {self.rate.restores} restores"
            )
            return f"that takes about {at_least(self.seconds or 0.0)}, at the pace of {times} into '{name}'"
        if self.least is not None:
            return describe_least(name, self.least, secrets=planned.written, versions=planned.versions)
        return f"how long that takes is not known: no restore into '{name}' is on record here"


def estimate(destination: Destination, planned: Restored, *, undo: Path, to: str) -> Estimate:
    """Estimate a restore of so much: at measured rates, but in no less than the destination's own pace takes.

    Args:
        undo: where earlier restores are on record.
        to: what the destination is called there.
    """
    least = least_seconds(destination, secrets=planned.written, versions=planned.versions)
    rate = measured_rate(undo, to) if planned.total else None
    known = [seconds for seconds in (least, rate.seconds(planned) if rate else None) if seconds is not None]
    return Estimate(seconds=max(known, default=None), least=least, rate=rate)


def least_seconds(destination: Destination, *, secrets: int, versions: int) -> float | None:
    """Return the seconds, or ``None`` if nothing but the machines sets a pace."""
    return (destination.least_seconds(secrets=secrets, versions=versions) if secrets else 0.0) or None


def describe_least(name: str, seconds: float, *, secrets: int, versions: int) -> str:
    """Say it."""
    what = f"{plural(secrets, 'secret')} ({plural(versions, 'version')})"
    return f"'{name}' takes at least {at_least(seconds)} for {what}, at the rate that it allows"
