"""Ctrl-C and SIGTERM: the first one ends a command in order, the third one ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_AGAIN: Final = 0.01
"""Seconds until a signal raises that could not where it came. Python drops what is raised in a callback such
as ``__del__``, and a command that was interrupted there must not end as if nobody had asked. And what is
raised between entering a ``with`` block and its first line leaves it without its end: a transaction stayed
open, and whoever took back what was begun waited for its lock."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends like Ctrl-C, so that what was begun is taken back."""


def interruption(number: int) -> type[KeyboardInterrupt]:
    """Return what a signal that asks for the end raises."""
    return Terminated if number == signal.SIGTERM else KeyboardInterrupt


class Abandoned(KeyboardInterrupt):
    """Asked a third time: ends at once, whatever is left."""


@contextmanager
def in_order() -> Iterator[StopRequests]:
    """Have signals raise in this process, and let it take back what it began."""
    asked = StopRequests()
    terminal = _terminal()
    before, hook = {}, sys.unraisablehook
    with suppress(ValueError):  # a thread may not set signals; whoever calls from one has its own
        before = {number: signal.signal(number, asked) for number in _SIGNALS}
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, asked.raise_again)
        sys.unraisablehook = partial(asked.dropped, hook)
    try:
        yield asked
    finally:
        if before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
        if asked.times and terminal:
            _set_terminal(terminal)


def _terminal() -> list[Any]:
    """Return how the terminal is set; nothing if there is none."""
    with suppress(OSError, ValueError, termios.error):
        return termios.tcgetattr(0)
    return []


def _set_terminal(before: list[Any]) -> None:
    """Have a terminal show again what is typed: a forked process may be killed while it asks for a secret."""
    with suppress(OSError, ValueError, termios.error):
        if os.tcgetpgrp(0) == os.getpgrp():  # the kernel would stop a process in the background
            termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def leaving(words: str) -> Iterator[None]:
    """Have an interruption say what it leaves, where that is not nothing."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        stopped.add_note(words)
        raise


_TAKING_BACK: Final = (
    b"\nstrongroom: taking back what was begun; a few seconds. Once more stops it at once.\n"
)


_ENDS: Final = ("__enter__", "__exit__", "close")


def _enters_or_leaves(frame: FrameType) -> bool:
    """Tell whether it may do so. Where a former signal is being heard, that one's frame is not known."""
    code = frame.f_code
    return code.co_name in _ENDS or code.co_filename in (contextlib.__file__, __file__)


class StopRequests:
    """Counts how often it was asked. Forked processes are asked too, and stay silent."""

    def __init__(self) -> None:
        self.times = 0
        self.is_over = False
        """Whether all that is left is to tell how it ended, which nothing interrupts."""
        self._process = os.getpid()
        self._raised: type[KeyboardInterrupt] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.is_over:
            return
        self.times += 1
        forked = os.getpid() != self._process
        if self.times == 1:
            self._raised = interruption(number)
        elif forked:
            return
        elif self.times > 2:
            self._raised = Abandoned
        else:
            with suppress(OSError):  # by no stream, which may be in the middle of writing something
                os.write(2, _TAKING_BACK)
            return
        self.raise_again(number, frame)

    def raise_again(self, _number: int, frame: FrameType | None) -> None:
        """Raise what the last signal raised; a moment later, if a ``with`` block is just entered or left and
        it was not asked to end at once."""
        if frame is not None and _enters_or_leaves(frame) and self._raised is not Abandoned:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        elif self._raised is not None and not self.is_over:
            raise self._raised

    def dropped(self, hook: Callable[[sys.UnraisableHookArgs], object], args: sys.UnraisableHookArgs) -> None:
        """Have an interruption that Python could not raise where it came raise a moment later."""
        if isinstance(args.exc_value, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        else:
            hook(args)
