"""Reading several backups at once, in the order in which they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from strongroom.errors import StrongroomError

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")
AT_ONCE = 8
"""Backups that are read at once: each costs a few requests, one after the other."""


def outcomes(
    backups: Sequence[A], begin: Callable[[A], B], look: Callable[[B], T], *, together: bool
) -> Iterator[tuple[A, T | StrongroomError]]:
    """Yield what came of looking into each: the first alone, for a person may be asked for a passphrase then,
    and the others several at once, if they may be.

    Args:
        begin: is called for one after the other, in this thread: it puts the attempt on record.
    """
    with ThreadPoolExecutor(AT_ONCE) as threads:
        at, size = 0, 1
        while window := backups[at : at + size]:
            yield from zip(
                window, list(threads.map(partial(_outcome, look), map(begin, window))), strict=True
            )
            at, size = at + size, AT_ONCE if together else 1


def _outcome(look: Callable[[B], T], backup: B) -> T | StrongroomError:
    try:
        return look(backup)
    except StrongroomError as error:
        return error
