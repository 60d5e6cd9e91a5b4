"""The name of a backup that a mistyped one was meant for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from strongroom.errors import StrongroomError
from strongroom.words import did_you_mean

if TYPE_CHECKING:
    from strongroom.operations.archive.failover import Replicated
    from strongroom.operations.archive.open import Backup
    from strongroom.operations.archive.salvage import Salvaged

MOST_READ, MOST_COMPARED = 100_000, 5_000
"""Names of a backup that are read, and compared letter by letter: an error must not take a minute."""


def near_name(name: str, backup: Backup | Replicated | Salvaged | None) -> str:
    """Ask whether the nearest name in a backup was meant; empty if none is near or it cannot be read."""
    if backup is None or backup.manifest.counts.secrets > MOST_READ:
        return ""
    with suppress(StrongroomError):
        alike = _alike(name, (row.name for row in backup.rows()))
        return did_you_mean(name, islice(alike, MOST_COMPARED))
    return ""


def _alike(name: str, names: Iterable[str]) -> Iterator[str]:
    """Yield names of about this length that end alike, or lie in the same folder."""
    folder, _, last = name.rpartition("/")
    for other_name in names:
        place, _, end = other_name.rpartition("/")
        if abs(len(other_name) - len(name)) <= 2 and (place == folder or end == last):
            yield other_name
