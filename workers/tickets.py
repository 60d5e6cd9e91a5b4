"""A step's ticket as a message's arguments, and back, strictly."""

from __future__ import annotations

from typing import Any, Final

from strongroom.operations.errors import MessageRefused
from strongroom.state.records import RunStep, StepKind, Ticket

VERSION: Final = 1


def to_arguments(ticket: Ticket) -> dict[str, Any]:
    """Return what a step's message carries; its kind is in the task's name."""
    return {
        "version": VERSION,
        "run": ticket.run,
        "piece": ticket.step.piece,
        "target": ticket.step.target,
        "dispatch": ticket.dispatch,
    }


def from_arguments(
    kind: StepKind, *, version: int, run: str, piece: int, target: str, dispatch: int
) -> Ticket:
    """Return the ticket of a message. Raises MessageRefused for another version or other types.

    An upgrade may leave messages of an older version behind: the run record still has the
    steps, and reconcile sends them again in the version of the day.
    """
    if version != VERSION:
        raise MessageRefused(f"a step message of version {version!r}, not {VERSION}")
    texts, numbers = (run, target), (piece, dispatch)
    if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
        raise MessageRefused("a step message with arguments of other types")
    return Ticket(run=run, step=RunStep(kind, piece, target), dispatch=dispatch)
