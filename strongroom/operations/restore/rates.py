"""How fast earlier restores into a destination were: by the records that they left in the state directory."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Final

from msgspec import Struct

from strongroom.operations.restore.journal import Journal, Restored, journals

RECENT: Final = 10
"""Restores that count: servers and networks change."""
ENOUGH: Final = 20
"""Secrets that were written in these; of fewer, what is not the writing itself would count for too much."""


class Rate(Struct, frozen=True, kw_only=True):
    """What was measured.

    Args:
        restores: how many of them tell it; ``secrets``: how many they wrote.
        looking: seconds that a secret took to be read on both sides and compared.
        writing: seconds that it took beside, to be written and read back.
    """

    restores: int
    secrets: int
    looking: float
    writing: float

    def seconds(self, planned: Restored) -> float:
        """Return how long a restore of so much takes at these rates."""
        return planned.total * self.looking + planned.written * self.writing


def measured_rate(undo: Path, to: str) -> Rate | None:
    """Return the rate of the newest restores into a destination; ``None`` if too few are on record."""
    newest = (journal for _, journal in reversed(list(journals(undo))) if _tells(journal, to))
    told = list(islice(newest, RECENT))
    counts = [journal.counts for journal in told]
    written = sum(count.written for count in counts)
    if written < ENOUGH:
        return None
    writing = sum(journal.writing_seconds for journal in told)
    looking = sum(journal.seconds for journal in told) - writing
    return Rate(
        restores=len(told),
        secrets=written,
        looking=max(0.0, looking) / sum(count.total for count in counts),
        writing=writing / written,
    )


def _tells(journal: Journal, to: str) -> bool:
    return journal.to == to and not journal.undoes and journal.seconds > 0 and journal.counts.written > 0
