"""Which containers are read next, so that each is read within the span. Pure.

A container has a deadline: three quarters of the span after it was last read. The last quarter is left for
targets that are away. Each slice reads what has to be read now if all deadlines are to be kept at an even
pace, and no more: what was read at one time is spread over the span by and by. What nobody ever read comes
first. Each target is judged alone, for each has a rate of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice, takewhile
from operator import sub

from msgspec import Struct, structs

from strongroom.model import Depth
from strongroom.state.records import ContainerCheck, Replica

MANIFEST = -1
"""The number of what is no container of a replica: its manifest, with its envelopes."""
OVERHEAD = 64 * 1024
"""Bytes that reading an object costs besides its own: a request takes its time, however small the object."""
AIM = 0.75
"""The part of the span within which everything is read, while all targets answer."""
CATCH_UP = 4.0
"""How many times the even pace a slice reads at most: a target that was away comes back to no burst."""
LEAST = 256 * 1024 * 1024
"""Bytes that a slice may always read of a target: a small installation catches up within hours."""
MOST = 500
"""Containers of a target in one slice, whatever else would be due."""
SKEW = 3600.0
"""Seconds that a check may be dated ahead. One further ahead is of a wrong clock, and counts as none."""


class Terms(Struct, frozen=True, kw_only=True):
    """How often everything is to be read, and how fast.

    Args:
        span: seconds within which every container of every replica is read.
        interval: seconds from one slice to the next.
        rate: bytes a second that are read of one target at most; ``None`` for as fast as it goes.
        sample: what is read besides, at random, as a part of the regular work: nobody can know it before.
    """

    span: float
    interval: float
    rate: float | None = None
    sample: float = 0.0

    @property
    def slices(self) -> float:
        """How many slices the regular work is divided among."""
        return max(1.0, AIM * self.span / self.interval)


class DueContainer(Struct, frozen=True, kw_only=True):
    """A container of a replica, or its manifest (:data:`MANIFEST`), and when it was last read how deep.

    ``made_at`` is when its backup was made. Times are seconds since the epoch. It may stand for several
    (``count``) of a target that were all read to its depth, and none longer ago; ``size`` is that of all.
    What a slice is chosen from stands for those of one replica that follow each other.
    """

    backup: str
    target: str
    piece: int
    size: int
    made_at: float = 0.0
    depth: Depth | None = None
    checked_at: float | None = None
    count: int = 1

    @property
    def weight(self) -> int:
        """What reading it costs, in bytes."""
        return self.size + self.count * OVERHEAD

    def read_at(self, now: float) -> float:
        """Return when it was last read; 0.0 if never, or if that is dated ahead."""
        at = self.checked_at
        return 0.0 if at is None or at > now + SKEW else at


def due_checks(
    items: Sequence[DueContainer], terms: Terms, *, now: float, draw: Callable[[], float]
) -> tuple[DueContainer, ...]:
    """Return what a slice reads, the oldest first.

    Args:
        draw: returns a random number from 0 to 1. Whoever can guess it knows what the sample is.
    """
    by_target: dict[str, list[DueContainer]] = {}
    for item in sorted(items, key=lambda container: container.backup, reverse=True):
        by_target.setdefault(item.target, []).append(item)
    slices = [_slice(by_target[target], terms, now, draw) for target in sorted(by_target)]
    return tuple(item for due in slices for item in due)


def slice_limit(items: Sequence[DueContainer], terms: Terms) -> float:
    """Return how many bytes of a target one slice reads at most."""
    catching_up = max(LEAST, CATCH_UP * _pace(items, terms))
    return catching_up if terms.rate is None else min(catching_up, terms.rate * terms.interval)


def _slice(
    items: Sequence[DueContainer], terms: Terms, now: float, draw: Callable[[], float]
) -> list[DueContainer]:
    ordered = sorted(items, key=lambda item: item.read_at(now))
    due = _count_due(ordered, terms, now)
    chance = terms.sample / terms.slices
    sampled = (each for item in ordered[due:] for each in _drawn(item, chance, draw))
    return [*ordered[:due], *islice(sampled, MOST)][:MOST]


def _drawn(item: DueContainer, chance: float, draw: Callable[[], float]) -> Iterator[DueContainer]:
    """Yield of what an item stands for what is drawn: each by the same chance. A draw says how many are
    passed over, for there may be very many."""
    if item.count == 1 or not 0 < chance < 1:
        drawn = range(item.count if draw() < chance else 0)
        yield from (_alone(item, number) for number in drawn)
        return
    number = -1
    while (drawn_at := draw()) < 1 and (number := number + 1 + _passed_over(drawn_at, chance)) < item.count:
        yield _alone(item, number)


def _passed_over(drawn: float, chance: float) -> int:
    return int(math.log1p(-drawn) / math.log1p(-chance))


def _alone(item: DueContainer, number: int) -> DueContainer:
    return structs.replace(item, piece=item.piece + number, count=1) if item.count > 1 else item


def _count_due(ordered: Sequence[DueContainer], terms: Terms, now: float) -> int:
    """Return how many of the oldest are read now: as many as must be, within what one slice may read."""
    pace, limit = _pace(ordered, terms), slice_limit(ordered, terms)
    read = list(accumulate((item.weight for item in ordered), initial=0))
    # Before each deadline there is a slice that begins with the item, if what is older is read at the pace.
    left = (pace * _slices_left(item, terms, now) for item in ordered)
    needed = max(map(sub, read, left), default=-1.0)
    wanted = sum(1 for _ in takewhile(lambda weight: weight <= needed, read))
    allowed = sum(1 for _ in takewhile(lambda weight: weight <= limit, read[1:]))
    return min(wanted, max(1, allowed))


def _pace(items: Sequence[DueContainer], terms: Terms) -> float:
    return sum(item.weight for item in items) / terms.slices


def _slices_left(item: DueContainer, terms: Terms, now: float) -> int:
    """Return how many slices are still to come before an item's deadline, this one not counted."""
    deadline = item.read_at(now) + AIM * terms.span
    return max(0, int((deadline - now) // terms.interval))


# -- What is put on record of a replica that was read back whole --------------------------------


_DEPTHS = tuple(Depth)


def checks_of_replica(
    backup: str, target: str, containers: int, depth: Depth, *, at: float
) -> list[ContainerCheck]:
    """Return what is known of a replica that was read back whole at a time: of each container, and of its
    manifest. Nothing, if it was only seen to be there."""
    if depth is Depth.PRESENT:
        return []
    return [
        ContainerCheck(backup=backup, target=target, piece=piece, depth=depth, checked_at=at)
        for piece in range(MANIFEST, containers)
    ]


def refresh(replica: Replica, containers: int, checks: Iterable[ContainerCheck], *, now: float) -> Replica:
    """Return what is known of a good replica by what was read of it, container by container.

    It was verified when the container was that was not read for longest, and to the depth that each was. As
    long as one was never read, or a wrong clock dated that ahead, nothing new is known. Its bytes are the
    same, so it keeps a depth that it had.
    """
    known = {check.piece: check for check in checks if check.checked_at <= now + SKEW}
    if not replica.good or any(piece not in known for piece in range(MANIFEST, containers)):
        return replica
    read = [known[piece] for piece in range(MANIFEST, containers)]
    depth = min((check.depth for check in read[1:]), default=Depth.DIGEST, key=_DEPTHS.index)
    before = min(replica.verified or Depth.PRESENT, Depth.COMPARED, key=_DEPTHS.index)
    return structs.replace(
        replica,
        verified=max(depth, before, key=_DEPTHS.index),
        verified_at=min(check.checked_at for check in read),
    )


def pieces_read(
    checks: Iterable[ContainerCheck], target: str, *, since: float, until: float
) -> frozenset[int]:
    """Return the containers of a backup that were read on a target in a time, its manifest among them."""
    return frozenset(
        check.piece for check in checks if check.target == target and since < check.checked_at <= until
    )
