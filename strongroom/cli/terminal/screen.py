"""What a terminal shows that a command draws anew: progress on stderr, and a whole screen. rich loads on
first use."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from strongroom.cli.terminal.output import Output, clean, columns
from strongroom.times import at_least

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


# -- A terminal whose whole screen a command draws again and again, until somebody has seen enough ---


_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""A screen of its own, without a cursor. A line that is too wide is cut, and does not go on in the next: the
letters of a name may be wider than others."""
_LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _TO_END_OF_LINE, _TO_END = "\x1b[H", "\x1b[K", "\x1b[J"
_QUIT: Final = frozenset({b"q", b"Q", b""})


def can_draw() -> bool:
    """Tell whether stdout is a terminal on which lines can be drawn again."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Screen:
    """The screen within a ``with`` block; afterwards the terminal is as it was."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._keys: int | None = None

    def __enter__(self) -> Self:
        self._open.callback(_write, _LEAVE)
        _write(_ENTER)
        if sys.stdin is not None and sys.stdin.isatty():
            self._keys = sys.stdin.fileno()
            before = termios.tcgetattr(self._keys)
            self._open.callback(termios.tcsetattr, self._keys, termios.TCSADRAIN, before)
            tty.setcbreak(self._keys)  # Ctrl-C stays what it is
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def size(self) -> tuple[int, int]:
        """How many letters a line has room for, and for how many lines there is, now."""
        width, height = os.get_terminal_size(sys.stdout.fileno())
        return width or 80, height or 24  # a serial line does not know

    def draw(self, lines: Iterable[str]) -> None:
        """Show lines, as many as there is room for, each from its beginning."""
        width, height = self.size
        shown = fitting([clean(line) for line in lines], width=width, height=height)
        drawn = [f"{_painted(line)}{_TO_END_OF_LINE}" for line in shown]
        _write(_HOME + "\r\n".join(drawn) + _TO_END)

    def asked_to_leave(self, seconds: float) -> bool:
        """Wait for a while; tell whether somebody typed ``q`` or hung up."""
        if self._keys is None:
            time.sleep(seconds)
            return False
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self._keys], [], [], left)[0] and os.read(self._keys, 1) in _QUIT:
                return True
        return False


def fitting(lines: list[str], *, width: int, height: int) -> list[str]:
    """Return lines cut to what there is room for; where lines are left out, the last one says how many."""
    if len(lines) > height:
        more = len(lines) - height + 1
        lines = [*lines[: height - 1], f"… and {more:,} more: the terminal is too low"]
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]


def _painted(line: str) -> str:
    """Draw headings bold, unless somebody objects (no-color.org)."""
    heading = line.isupper() and not os.environ.get("NO_COLOR")
    return f"\x1b[1m{line}\x1b[0m" if heading else line


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


# -- Progress on stderr, and only where a terminal looks. rich loads on first use ---------------


Advance = Callable[[int], None]
WIDE = 100
"""Columns from which on a bar has all of its room."""


@contextmanager
def counting(output: Output, what: str, total: int | None) -> Iterator[Advance]:
    """Yield something to call with each number of secrets done."""
    if not output.lively:
        yield lambda _: None
        return
    with bars() as progress:
        task = progress.add_task(what, total=total)
        yield lambda number: progress.advance(task, number)


def bars() -> Progress:
    """Return rich's progress display, in this program's style, on stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    _RUNNING.clear()
    made = Progress(
        TextColumn("{task.description:<16}"),
        *([BarColumn()] if columns() >= WIDE else []),  # the numbers say the same in less room
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _pace_column(),
        console=Console(file=sys.stderr),
        transient=True,
    )
    _RUNNING.append(made)
    return made


def _pace_column() -> ProgressColumn:
    """Return a column for how fast it goes and how long the rest takes. Who knows better gives a task its own
    words as ``pace``."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class PaceColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            given = task.fields.get("pace")
            left = None if task.finished else task.time_remaining
            return Text(pace_words(task.speed, left) if given is None else given)

    return PaceColumn()


def pace_words(rate: float | None, left: float | None) -> str:
    """Say how many a second are done, and how long the rest takes; nothing where nobody knows."""
    words = [f"{rate:,.0f}/s" if rate >= 10 else f"{rate:,.1f}/s"] if rate else []
    return ", ".join([*words, *([f"{at_least(left)} left"] if left else [])])


@contextmanager
def paused() -> Iterator[None]:
    """Take the bars away inside the block: what a person is asked stands on a line of its own."""
    stopped = [progress for progress in _RUNNING if progress.live.is_started]
    for progress in stopped:
        progress.stop()
    try:
        yield
    finally:
        for progress in stopped:
            progress.start()


_RUNNING: list[Any] = []
