"""How the demo tells what it does: alive on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct
from rich.console import Console
from rich.status import Status

from strongroom.cli.terminal.output import Output, paint

Note = Callable[[str], None]


class Took(Struct, frozen=True, kw_only=True):
    """One stage that is over."""

    stage: str
    detail: str
    seconds: float


class Stages:
    """Shows stages on stderr as they happen, and remembers how long each took."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.over: list[Took] = []

    @contextmanager
    def stage(self, title: str, *, own_display: bool = False) -> Iterator[Note]:
        """Run a stage; call what it yields with what came of it.

        Args:
            own_display: the stage draws its own progress.
        """
        notes: list[str] = []
        began = time.monotonic()
        with _spinner(title, shown=self._output.lively and not own_display):
            yield notes.append
        self._end(Took(stage=title, detail=", ".join(notes), seconds=round(time.monotonic() - began, 2)))

    @contextmanager
    def part(self, title: str) -> Iterator[Note]:
        """Run something whose beginning is a stage: calling what it yields ends the stage."""
        began = time.monotonic()
        yield lambda detail: self.add(title, detail, time.monotonic() - began)

    def add(self, title: str, detail: str, seconds: float) -> None:
        """Note a part of a stage that was timed elsewhere."""
        self._end(Took(stage=title, detail=detail, seconds=round(seconds, 2)))

    def _end(self, took: Took) -> None:
        self.over.append(took)
        mark = paint(_mark(), "32;1")
        self._output.say(f"  {mark} {took.stage:<34} {took.seconds:>6.1f} s   {took.detail}".rstrip())


def _mark() -> str:
    return "✓" if (sys.stderr.encoding or "").lower().startswith("utf") else "ok"


@contextmanager
def _spinner(title: str, *, shown: bool) -> Iterator[None]:
    if not shown:
        yield
        return
    with Status(f" {title} …", console=Console(file=sys.stderr)):
        yield
