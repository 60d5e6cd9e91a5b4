"""Progress on stderr, and only where a terminal looks. rich loads on first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from strongroom.cli.terminal.output import Output

Advance = Callable[[int], None]


@contextmanager
def counting(output: Output, what: str, total: int | None) -> Iterator[Advance]:
    """Yield something to call with each number of secrets done."""
    if not output.lively:
        yield lambda _: None
        return
    with bars() as progress:
        task = progress.add_task(what, total=total)
        yield lambda number: progress.advance(task, number)


def bars() -> Any:
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
    columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    made = Progress(*columns, console=Console(file=sys.stderr), transient=True)
    _RUNNING.append(made)
    return made


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
