"""Whether so much of a source changed that somebody has to look, and whether somebody has. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from strongroom.model import prepare
from strongroom.operations.archive.live_comparison import describe_drift
from strongroom.operations.drift.comparison import Differences, Drift
from strongroom.operations.drift.sample import share_unknown
from strongroom.words import plural


class MassChangeLimits(Struct, frozen=True, kw_only=True):
    """A mass change is one of more than so many of a hundred secrets, and of at least so many."""

    mass_change_percent: int = 30
    mass_change_least: int = 10

    def exceeded(self, moved: float, secrets: int) -> bool:
        """Tell whether so many of a backup's secrets are a mass change."""
        return moved >= self.mass_change_least and 100 * moved > self.mass_change_percent * secrets


prepare(MassChangeLimits)


def is_mass_change(found: Differences, limits: MassChangeLimits) -> bool:
    """Tell whether a source differs that much from a backup. If nothing is left, it does, however small."""
    return limits.exceeded(found.moved, found.secrets) or 0 < found.secrets == found.missing


def is_accepted(drift: Drift, accepted: Sequence[int], limits: MassChangeLimits) -> bool:
    """Tell whether a mass change is the one that a person released the hold for, but for a few secrets.

    Args:
        accepted: the sample of that change; empty if nobody released a hold.
    """
    if not accepted:
        return False
    new = share_unknown(drift.sample, accepted) * drift.since.moved
    return not limits.exceeded(new, drift.since.secrets)


def is_alarming(drift: Drift, accepted: Sequence[int], limits: MassChangeLimits) -> bool:
    """Tell whether there is a mass change that nobody has accepted."""
    return is_mass_change(drift.since, limits) and not is_accepted(drift, accepted, limits)


def describe_mass_change(drift: Drift) -> str:
    """Say what changed, in counts: a name of a secret is one, too."""
    found = drift.since
    what = describe_drift(found.changed, found.missing)
    return f"{what}, of the {plural(found.secrets, 'secret')} of backup {found.backup}"
