"""A guided procedure: named steps in their order, each done by a function, proven, waived or needless.

A recovery and an incident are two lists of steps. How they are led through is the same, and stands here: what
is next is asked of the record, so that whoever was killed, or another host, goes on where it stopped; what
fails is tried again, waived with a reason, or left; and nothing counts as done but what its checks proved.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Generic, TypeVar

from msgspec import Struct

from strongroom.errors import StrongroomError

S = TypeVar("S", bound=StrEnum)


class AfterFailure(Struct, frozen=True, kw_only=True):
    """What is done about a step that failed: it is tried ``again``, waived for a ``reason``, or left open."""

    again: bool = False
    reason: str = ""


class Procedure(Generic[S]):
    """The steps of one case, by its record."""

    def next_step(self, left: Collection[S]) -> S | None:
        """Return the step that is next, but for those that were left open; ``None`` once there is none."""
        raise NotImplementedError

    def why_needless(self, step: S) -> str:
        """Say why a step has nothing to do; empty if it has, or if the record says so already."""
        return ""

    def pass_over(self, step: S, why: str) -> None:
        """Put on record that a step has nothing to do."""

    def perform(self, step: S) -> StrongroomError | None:
        """Do a step, and put on record what came of it; return what it is not done for."""
        raise NotImplementedError

    def waive(self, step: S, reason: str) -> None:
        """Put on record that a step is left as it is, and why."""
        raise NotImplementedError


class Guide(Generic[S]):
    """Whoever leads through the steps: it says what happens, and decides about what fails. This one says
    nothing, and leaves what fails open."""

    def begins(self, step: S) -> None: ...

    def needless(self, step: S, why: str) -> None: ...

    def ended(self, step: S, error: StrongroomError | None) -> None: ...

    def after_failure(self, step: S, error: StrongroomError) -> AfterFailure:
        return AfterFailure()


def lead(procedure: Procedure[S], guide: Guide[S]) -> None:
    """Lead through all steps, each until it is done, waived, or left."""
    left: set[S] = set()
    while (step := procedure.next_step(left)) is not None:
        guide.begins(step)
        if why := procedure.why_needless(step):
            procedure.pass_over(step, why)
            guide.needless(step, why)
        elif not _take(procedure, guide, step):
            left.add(step)


def _take(procedure: Procedure[S], guide: Guide[S], step: S) -> bool:
    """Try a step until it is done or waived; tell whether it is."""
    while True:
        error = procedure.perform(step)
        guide.ended(step, error)
        if error is None:
            return True
        decided = guide.after_failure(step, error)
        if not decided.again:
            if decided.reason:
                procedure.waive(step, decided.reason)
            return bool(decided.reason)
