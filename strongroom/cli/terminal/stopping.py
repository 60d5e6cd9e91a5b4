"""Ctrl-C and SIGTERM: the first one ends a command in order, the third one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends like Ctrl-C, so that what was begun is taken back."""


class Abandoned(KeyboardInterrupt):
    """Asked a third time: ends at once, whatever is left."""


class Silently(KeyboardInterrupt, SystemExit):
    """In a forked process: handed back like Ctrl-C by what is at work, and no stack printed by what waits."""


@contextmanager
def in_order() -> Iterator[None]:
    """Have signals raise in this process, and let it take back what it began."""
    asked = _Asked()
    before = {}
    with suppress(ValueError):  # a thread may not set signals; whoever calls from one has its own
        before = {number: signal.signal(number, asked) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def leaving(words: str) -> Iterator[None]:
    """Have an interruption say what it leaves, where that is not nothing."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        stopped.add_note(words)
        raise


class _Asked:
    """Counts how often it was asked. Forked processes are asked too, and stay silent."""

    def __init__(self) -> None:
        self._times = 0
        self._process = os.getpid()

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self._times += 1
        forked = os.getpid() != self._process
        if self._times == 1:
            raise Silently if forked else Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if forked:
            return
        if self._times > 2:
            raise Abandoned
        print(
            "\nstrongroom: taking back what was begun; a few seconds. Once more stops it at once.",
            file=sys.stderr,
        )
