"""Quorums to test with, each the outcome of a whole ceremony."""

from __future__ import annotations

from functools import cache

from strongroom.container.cobblestone import Random
from strongroom.keys.quorum.ceremony import Ceremony
from strongroom.keys.quorum.record import Quorum

NAMES = ("Ada", "Björn", "Chi", "Dana", "Eve")
CREATED = "2026-11-25T02:45:01Z"


def begin(
    *, seed: bytes | None = None, names: tuple[str, ...] = NAMES, threshold: int = 3, name: str = "board"
) -> Ceremony:
    random: Random | None = None if seed is None else lambda size: seed[:size]
    options = {} if random is None else {"random": random}
    return Ceremony(name=name, custodians=list(names), threshold=threshold, created_at=CREATED, **options)


@cache
def made(seed: bytes = bytes(range(32)), name: str = "board") -> tuple[Quorum, tuple[str, ...]]:
    """Return a quorum and its shares, in the order of the custodians."""
    ceremony, papers = begin(seed=seed, name=name), []
    while ceremony.next:
        papers.append(" ".join(ceremony.show()))
        ceremony.confirm(papers[-1])
    return ceremony.finish(), tuple(papers)
