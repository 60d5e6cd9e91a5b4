"""Ask one place after another, and if none answers say what matters most of why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from strongroom.container.errors import MissingPiece, WrongKey
from strongroom.errors import StrongroomError, Untrusted

Place = TypeVar("Place")
T = TypeVar("T")


def first_answer(
    places: Iterable[Place], read: Callable[[Place], T], *, of: str, earlier: Iterable[StrongroomError] = ()
) -> T:
    """Return what the first place gives that can be read.

    Args:
        of: what is read, for the error if there is no place to ask.
        earlier: why other places were given up before.

    Raises:
        StrongroomError: none can be read: the failure that :func:`most_telling` picks.
    """
    failures = list(earlier)
    for place in places:
        try:
            return read(place)
        except StrongroomError as error:
            failures.append(error)
    raise most_telling(failures) if failures else MissingPiece(f"no configured target holds {of}")


def most_telling(failures: Iterable[StrongroomError]) -> StrongroomError:
    """Return the failure that decides what is done next; of several alike, the first.

    1. A signer that is not trusted, or a record that was edited: a person has to look, and an attack
       must not hide behind a place that happens to be away.
    2. A key that does not open it: the same bytes lie everywhere, so no other place or time helps.
    3. What passes: the place that is away may hold it whole, so the run tries again, whatever is
       wrong elsewhere.
    4. What is damaged, or refused for good.
    5. What is missing: of a place that never had it, that is no news.
    """
    return min(failures, key=_rank)


def _rank(error: StrongroomError) -> int:
    if isinstance(error, Untrusted):
        return 1
    if isinstance(error, WrongKey):
        return 2
    if error.transient:
        return 3
    return 5 if isinstance(error, MissingPiece) else 4
