"""What goes wrong in a simulated year: drawn by a seed, each by itself, so that any of it can be left out.

Leaving one out changes nothing of the others, nor what chance does: it is drawn by name (:func:`chance`), not
in turn. That is what makes a failure shrink.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86_400.0

BEATS: Final = ("a", "b")
REGIONS: Final = ("eu", "us", "ap")
POLICIES: Final = ("daily-metadata", "weekly-critical", "monthly-rest")


class Fault(Struct, frozen=True, kw_only=True, order=True):
    """Something that goes wrong at a time (epoch seconds), for so many seconds, at something.

    ``size`` is by how many seconds a clock is wrong, or which part of what is meant is met.
    """

    at: float
    kind: str
    subject: str = ""
    seconds: float = 0.0
    size: float = 0.0

    @property
    def until(self) -> float:
        """When it is over."""
        return self.at + self.seconds

    def __str__(self) -> str:
        lasts = f" for {_duration(self.seconds)}" if self.seconds else ""
        size = (
            f" ({self.size:+.0f} s)" if "clock" in self.kind else f" ({self.size:.0%})" if self.size else ""
        )
        return f"{moment(self.at)}  {self.kind} {self.subject}{lasts}{size}".rstrip()


def moment(at: float) -> str:
    """Return a time as people read it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _duration(seconds: float) -> str:
    return f"{seconds / HOUR:.1f} h" if seconds >= HOUR else f"{seconds / MINUTE:.0f} min"


def chance(*names: object) -> float:
    """Return a number from 0 to 1 that follows from these names alone."""
    return zlib.crc32(repr(names).encode()) / 2**32


class Kind(Struct, frozen=True, kw_only=True):
    """How often a year has such a fault, where, how long it lasts (in seconds), and how big it is."""

    most: int
    subjects: tuple[str, ...] = ("",)
    lasts: tuple[float, float] = (0.0, 0.0)
    size: Callable[[random.Random], float] = lambda draw: 0.0


def _part(draw: random.Random) -> float:
    return draw.uniform(0.05, 0.6)


def _hours(draw: random.Random) -> float:
    """The clock of the database is wrong by less than the five minutes that are allowed for, or by more."""
    return draw.choice((-1, 1)) * draw.choice((20.0, 200.0, HOUR, 26 * HOUR))


def _days(draw: random.Random) -> float:
    return draw.choice((-1, 1)) * draw.choice((HOUR, 26 * HOUR, 9 * DAY))


KINDS: Final[Mapping[str, Kind]] = {
    "target away": Kind(most=6, subjects=REGIONS, lasts=(10 * MINUTE, 5 * DAY)),
    "target full": Kind(most=3, subjects=REGIONS, lasts=(HOUR, 3 * DAY)),
    "stage full": Kind(most=2, lasts=(10 * MINUTE, 20 * HOUR)),
    "source away": Kind(most=3, lasts=(5 * MINUTE, 2 * DAY)),
    "database away": Kind(most=4, lasts=(1 * MINUTE, 30 * HOUR)),
    "broker away": Kind(most=3, lasts=(1 * MINUTE, 30 * HOUR)),
    "workers away": Kind(most=3, lasts=(2 * MINUTE, 40 * HOUR)),
    "prune workers away": Kind(most=2, lasts=(HOUR, 3 * DAY)),
    "beat away": Kind(most=5, subjects=BEATS, lasts=(2 * MINUTE, 4 * DAY)),
    "database clock": Kind(most=3, lasts=(MINUTE, 6 * HOUR), size=_hours),
    "host clock": Kind(most=3, lasts=(HOUR, 3 * DAY), size=_days),
    "messages lost": Kind(most=3, lasts=(HOUR, 2 * DAY), size=_part),
    "messages twice": Kind(most=4, lasts=(HOUR, 5 * DAY), size=_part),
    "workers killed": Kind(most=4, lasts=(HOUR, 2 * DAY), size=_part),
    "workers stall": Kind(most=2, lasts=(HOUR, DAY), size=_part),
    "legal hold": Kind(most=2, subjects=POLICIES, lasts=(5 * DAY, 60 * DAY)),
    "restore": Kind(most=3, subjects=POLICIES, lasts=(HOUR, 20 * DAY)),
    "secrets gone": Kind(most=2, subjects=POLICIES, lasts=(2 * DAY, 60 * DAY), size=_part),
    "pause": Kind(
        most=2, subjects=(*POLICIES, "repair", "verification", "full-drill"), lasts=(HOUR, 20 * DAY)
    ),
    "damage": Kind(most=5, subjects=REGIONS, size=lambda draw: draw.random()),
    "rot after verification": Kind(most=4, subjects=POLICIES, size=lambda draw: draw.random()),
}
"""Every kind of fault. ``damage`` meets one container on one target, and ``size`` says which. ``rot after
verification`` meets a container of each backup of a policy that is newer than one, on every target, and
``size`` says which one that is. A ``restore`` needs the oldest backup of a policy, and ``secrets gone`` takes
a part of its secrets from the source."""


def draw_faults(seed: int, start: float, days: int = 365) -> tuple[Fault, ...]:
    """Return the faults of the year of a seed, in order; of a shorter time there are as many."""
    draw = random.Random(f"faults {seed}")
    return tuple(
        sorted(
            _drawn(kind, words, draw, start, days)
            for words, kind in KINDS.items()
            for _ in range(draw.randint(0, kind.most))
        )
    )


def _drawn(kind: Kind, words: str, draw: random.Random, start: float, days: int) -> Fault:
    shortest, longest = kind.lasts
    # Short ones are the most frequent: evenly by the logarithm.
    seconds = shortest * (longest / shortest) ** draw.random() if shortest else 0.0
    return Fault(
        at=round(start + draw.uniform(2, days - min(10, days / 4)) * DAY),
        kind=words,
        subject=draw.choice(kind.subjects),
        seconds=round(seconds),
        size=kind.size(draw),
    )
