"""What a series prints is kept under ``build/chaos``, too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.process import ROOT

Say = Callable[[str], None]


def begin(name: str, *, folder: Path = ROOT / "build" / "chaos") -> Say:
    """Begin a log, in place of that of the series before; return what prints a line and keeps it there."""
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("", encoding="utf-8")

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        with path.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")

    return say
