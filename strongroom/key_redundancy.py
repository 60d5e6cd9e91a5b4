"""Whether one loss can close a backup for ever: what its ways in rest on, and what is left without."""

from __future__ import annotations

from collections.abc import Sequence

UnlockPath = Sequence[Sequence[str | None]]
"""One way in: its legs, of which every one is needed, each with the things of which any one will do.

A thing is whatever is lost at once: a key file, a token with all that is in it, a Vault with all of its
keys. ``None`` is not: a quorum still opens when one of its papers is gone.
"""


def outlive(ways: Sequence[UnlockPath], lost: str) -> bool:
    """Whether there is still a way in without one thing."""
    return any(all(any(thing != lost for thing in leg) for leg in way) for way in ways)


def single_points_of_failure(ways: Sequence[UnlockPath]) -> list[str]:
    """Return the things each of which is needed, whatever else there is; ordered, none twice."""
    things = dict.fromkeys(thing for way in ways for leg in way for thing in leg)
    return [thing for thing in things if thing is not None and not outlive(ways, thing)]
