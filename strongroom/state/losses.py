"""When a message or a lease counts as lost: reasoning alone, without a database.

A message is *lost*, not *queued*, if one sent later to the same queue was taken up and
this one was not: queues are first-in first-out. If none was sent later, a queue that has
long given out nothing has lost it, or nobody serves it; sending again is harmless either
way, since the old number is stale. Each further time waits twice as long.
"""

from __future__ import annotations

from msgspec import Struct

from strongroom.state.records import RunStep, StepState
from strongroom.state.step_conditions import FARTHEST


class LossPatience(Struct, frozen=True, kw_only=True):
    """How long to wait before something counts as lost. Seconds, but for ``starts``.

    ``lease``: a claim without renewal. ``grace``: a message overtaken by a later one.
    ``idle``: a message in a queue from which nothing is taken. ``busy``: the same, while
    steps from that queue are being worked on. ``longest``: where doubling stops.
    ``starts``: how many starts without any recorded outcome a step gets.
    """

    lease: float = 15.0
    grace: float = 5.0
    idle: float = 30.0
    busy: float = 300.0
    longest: float = 600.0
    starts: int = 5


class UnsettledStep(Struct, frozen=True, kw_only=True):
    """An unsettled step as recovery looks at it; ``key`` finds and guards its row."""

    run: str
    step: RunStep
    state: StepState
    dispatch: int
    silent: int
    sends: int
    sent_at: float
    lease_expires: float


class Queue(Struct, frozen=True, kw_only=True):
    """What was taken from a queue lately. ``overtaking`` is the greatest dispatch number
    taken longer than the grace ago, ``taken_at`` when anything last was, ``working``
    whether a live lease is held on a step from it."""

    overtaking: int = 0
    taken_at: float = 0.0
    working: bool = False


def is_live(lease_expires: float, now: float) -> bool:
    """Tell whether a lease holds. One that ends later than any lease can was edited, or the clock was set
    back: it holds nothing, or its step would never be taken up again."""
    return now <= lease_expires <= now + FARTHEST


def is_lost(watched: UnsettledStep, queue: Queue, now: float, patience: LossPatience) -> bool:
    """Whether a SENT step's message will not come any more."""
    doubling: float = 2 ** max(0, watched.sends - 1)
    age = now - watched.sent_at
    if age < -patience.grace:  # the clock was set back, or the row was edited: its age says nothing
        return True
    if watched.dispatch < queue.overtaking and age > min(patience.grace * doubling, patience.longest):
        return True
    quiet = now - max(watched.sent_at, queue.taken_at)
    wait = patience.busy if queue.working else patience.idle
    return quiet > min(wait * doubling, patience.longest)
