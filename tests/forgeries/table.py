"""The table of forgeries."""

from __future__ import annotations

from tests.forgeries import damages, disks, notes, signing, spellings, writing
from tests.forgeries.forgery import TABLE, Forgery

SINGLE = (writing, signing)
MANY = (damages, disks, spellings, notes)
"""Tables of many small changes, of which some are as good as all where time is short."""


def forgeries() -> list[Forgery]:
    """Return every forgery, in the order of the groups."""
    return [*often(), *seldom()]


def often() -> list[Forgery]:
    """Return those that are tried each time."""
    single, many = _entered()
    return [*single, *many[::4]]


def seldom() -> list[Forgery]:
    """Return those that are tried where there is time."""
    many = _entered()[1]
    return [one for number, one in enumerate(many) if number % 4]


def _entered() -> tuple[list[Forgery], list[Forgery]]:
    """Return the single ones, and those of the tables of many."""
    if not TABLE:
        for module in (*SINGLE, *MANY):
            module.enter()
            _ENDS.append(len(TABLE))
    end = _ENDS[len(SINGLE) - 1]
    return TABLE[:end], TABLE[end:]


_ENDS: list[int] = []
