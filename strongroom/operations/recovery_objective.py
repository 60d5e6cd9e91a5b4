"""Recovery time objectives (RTO), and whether a rehearsed recovery met its own."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from strongroom.durations import measured


class DrillScope(StrEnum):
    """How much is brought back, and from where: without a region, or from the medium in the safe."""

    SINGLE = "single"
    CATEGORY = "category"
    FULL = "full"
    FAILOVER = "failover"
    EMERGENCY = "emergency"


OBJECTIVES: Final = {
    DrillScope.SINGLE: 15 * 60.0,
    DrillScope.CATEGORY: 30 * 60.0,
    DrillScope.FULL: 2 * 3600.0,
    DrillScope.FAILOVER: 2 * 3600.0,
    DrillScope.EMERGENCY: 4 * 3600.0,
}
"""Seconds, by the procedures."""


def objective_missed(took: float, *, least: float, objective: float) -> str | None:
    """Say why an objective was missed; nothing if it was met. All in seconds.

    Args:
        least: what the source itself takes at the least, however fast this machine is.
    """
    if max(took, least) <= objective:
        return None
    slow = f"took {measured(took)}" if took > objective else f"the source itself takes at least {least:.0f} s"
    return f"{slow}; the objective is {objective:g} s"
