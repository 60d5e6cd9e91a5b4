"""Where nobody may be asked for a PIN: of several processes at one terminal, only one may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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
