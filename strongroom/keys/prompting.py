"""Who is asked for a PIN or a passphrase, and where nobody may be: of several processes at one terminal, only
one may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

Passphrases = Callable[[Path], Iterable[str]]
"""Gives the passphrases to try on a key's file: what was given, then what a person types when it is asked."""


def nobody(path: Path) -> Iterable[str]:
    """Give no passphrase: nobody is there."""
    return ()


_unasked: ContextVar[bool] = ContextVar("unasked", default=False)


@contextmanager
def unasked() -> Iterator[None]:
    """Ask nobody in this block. What cannot do without raises, and is left to who may ask."""
    token = _unasked.set(True)
    try:
        yield
    finally:
        _unasked.reset(token)


def may_ask() -> bool:
    """Tell whether a person may be asked here."""
    return not _unasked.get()
