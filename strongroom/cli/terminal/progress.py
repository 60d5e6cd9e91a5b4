"""Progress on stderr, and only where a terminal looks. rich loads on first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from strongroom.cli.terminal.output import Output, columns
from strongroom.durations import at_least

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

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
